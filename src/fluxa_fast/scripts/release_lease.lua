-- Releases a partition. KEYS[2]: the lease.
return redis.call('DEL', KEYS[2])
