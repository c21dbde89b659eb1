-- Returns how many entries are pending for a consumer. KEYS[1]: the stream. ARGV: the group, the consumer.
local summary = redis.pcall('XPENDING', KEYS[1], ARGV[1])
if failed(summary) then -- there is no group, as the read before this call has told
  return 0
end
for _, consumer in ipairs(summary[4] or {}) do
  if consumer[1] == ARGV[2] then
    return tonumber(consumer[2])
  end
end
return 0
