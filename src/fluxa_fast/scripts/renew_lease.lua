-- Renews the lease of a partition. KEYS[2]: the lease. ARGV: its new duration in milliseconds.
return redis.call('PEXPIRE', KEYS[2], ARGV[1])
