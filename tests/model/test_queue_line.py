"""Lines of the queue: who takes from them."""

from hypothesis import given
from hypothesis import strategies as st

from perdure.model.queue_line import is_served, line_of, queue_of, tags_of

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,10}", fullmatch=True)


@given(NAMES, st.sets(NAMES))
def test_a_line_says_its_queue_and_its_tags(queue: str, tags: set[str]) -> None:
    line = line_of(queue, tags)
    assert (queue_of(line), set(tags_of(line))) == (queue, tags)
    assert line_of(queue, sorted(tags, reverse=True)) == line


@given(NAMES, st.sets(NAMES), st.none() | st.sets(NAMES), st.sets(NAMES))
def test_a_worker_takes_from_its_queues_what_its_tags_suffice_for(
    queue: str, wanted: set[str], queues: set[str] | None, tags: set[str]
) -> None:
    served = is_served(line_of(queue, wanted), queues=queues, tags=tags)
    assert served == ((queues is None or queue in queues) and wanted <= tags)
