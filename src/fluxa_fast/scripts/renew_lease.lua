-- Keeps a partition for longer. KEYS[2]: its lease. ARGV: milliseconds.
return redis.call('PEXPIRE', KEYS[2], ARGV[1])
