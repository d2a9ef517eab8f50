"""The same workloads through other engines, each set up as its documentation recommends, in one run with ours."""
