"""What the acceptance tests share: processes, clients, upstreams and oracles, none of them Swift."""
