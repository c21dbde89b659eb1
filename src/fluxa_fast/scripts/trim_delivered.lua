-- Trims the entries that every group of the stream is past. A group is past an entry that lies below its lowest pending
-- ID and not above the ID that it was delivered last. (After XGROUP SETID, entries may be pending that will be delivered
-- once more.) This is for reading without acknowledgements, where nothing else tells that an entry is handled.
-- KEYS[1]: the stream. ARGV: the reader's group.
-- Returns the number of other groups, and 1 if entries stay that this group was delivered, so that another call has to
-- trim them; else 0.
local key = KEYS[1]

local groups = groups_of(key)
if failed(groups) then
  return groups
end
local mark, own
local others = #groups
local inclusive = false -- whether every group is past the entry at the mark
for _, group in ipairs(groups) do
  local bound, past = group['last-delivered-id'], true
  if group['name'] == ARGV[1] then
    own = bound
    others = others - 1
  end
  if group['pending'] > 0 then
    local lowest = redis.call('XPENDING', key, group['name'], '-', '+', 1)[1]
    if lowest and not less(bound, lowest[1]) then
      bound, past = lowest[1], false
    end
  end
  if not mark or less(bound, mark) then
    mark, inclusive = bound, past
  elseif bound == mark then
    inclusive = inclusive and past
  end
end
if not own then -- the group is gone; when it is made again, it must be given the entries that are here
  return {others, 0}
end
redis.call('XTRIM', key, 'MINID', mark)
if inclusive then
  redis.call('XDEL', key, mark)
end
local left = less(mark, own) or mark == own and not inclusive
return {others, left and 1 or 0}
