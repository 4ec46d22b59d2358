-- The index of texts: segments are merged into volumes, and the last one of a workspace grows until it is full. It begins anew.
TRUNCATE search_state, search_tail, search_segments, search_parts;

-- place: in the volume by whose number the segment's parts stand: its own one, until it is merged with others.
ALTER TABLE search_parts RENAME COLUMN segment TO volume;
ALTER TABLE search_segments
ADD COLUMN size bigint NOT NULL,
ADD COLUMN volume bigint NOT NULL,
ADD COLUMN place bigint NOT NULL;

CREATE INDEX search_segments_by_volume ON search_segments (volume);
CREATE INDEX search_segments_loose ON search_segments (workspace, size, number) WHERE volume = number;
