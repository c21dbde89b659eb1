-- Makes entries that a consumer has in hand count as delivered just now, so that no other consumer takes them over. Those
-- that another consumer has taken already stay there. KEYS[1]: the stream. ARGV: the group, the consumer, and the IDs, which
-- ascend. Returns the IDs that are pending for the consumer.
local key, group, name = KEYS[1], ARGV[1], ARGV[2]
local own = {}
local after, last = ARGV[3], ARGV[#ARGV]
repeat
  local page = redis.pcall('XPENDING', key, group, after, last, 1000, name)
  if failed(page) then -- the group may be gone
    return {}
  end
  for _, entry in ipairs(page) do
    own[entry[1]] = true
  end
  if #page == 1000 then
    after = '(' .. page[1000][1]
  end
until #page < 1000
local mine = {}
for at = 3, #ARGV do
  if own[ARGV[at]] then
    mine[#mine + 1] = ARGV[at]
  end
end
for from = 1, #mine, 1000 do
  local ids = {unpack(mine, from, math.min(#mine, from + 999))}
  ids[#ids + 1] = 'JUSTID'
  redis.call('XCLAIM', key, group, name, 0, unpack(ids))
end
return mine
