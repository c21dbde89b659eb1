-- Leaves a partition to others. KEYS[2]: its lease.
return redis.call('DEL', KEYS[2])
