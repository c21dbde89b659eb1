-- Trims what every group of the stream has been past. Of a group that is what lies below its lowest pending ID and not
-- above the ID that it was delivered last: after XGROUP SETID, entries may be pending that are still to be delivered.
-- For reading without acknowledgements, where nothing else says that an entry is done with.
-- KEYS[1]: the stream. ARGV: the reader's group.
-- Returns the number of other groups; and 1 if entries stay that this group was delivered: they are to go another time, or else 0.
local key = KEYS[1]

local groups = groups_of(key)
if failed(groups) then
  return groups
end
local mark, own
local others = #groups
local inclusive = false -- every group is past the entry at the mark itself
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
if not own then -- the group is gone: when it is made again, it is to be given what is here
  return {others, 0}
end
redis.call('XTRIM', key, 'MINID', mark)
if inclusive then
  redis.call('XDEL', key, mark)
end
local left = less(mark, own) or mark == own and not inclusive
return {others, left and 1 or 0}
