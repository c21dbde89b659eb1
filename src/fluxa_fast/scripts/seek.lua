-- Moves a group to another place. KEYS[1]: the stream. ARGV: the group, the place, and what is to become of entries that
-- are pending: 'keep', 'drop', or '' to refuse if there are some.
-- Returns how many were dropped, or the error PENDING with their number.
local key, group = KEYS[1], ARGV[1]
local summary = redis.pcall('XPENDING', key, group)
if failed(summary) then
  return summary
end
local dropped = 0
if summary[1] > 0 and ARGV[3] == '' then
  return redis.error_reply('PENDING ' .. summary[1] .. ' entries')
end
if ARGV[3] == 'drop' then
  repeat
    local page = redis.call('XPENDING', key, group, '-', '+', 1000)
    local ids = {}
    for i, entry in ipairs(page) do
      ids[i] = entry[1]
    end
    if #ids > 0 then
      dropped = dropped + redis.call('XACK', key, group, unpack(ids))
    end
  until #page < 1000
end
local moved = redis.pcall('XGROUP', 'SETID', key, group, ARGV[2])
return failed(moved) and moved or dropped
