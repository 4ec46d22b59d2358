"""`perdure bench`: the budgets of the design, measured beside the raw limits of the machine."""
