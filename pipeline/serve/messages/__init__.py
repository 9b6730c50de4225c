"""Words of requests and answers, typed."""
