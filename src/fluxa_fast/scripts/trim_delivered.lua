-- Trims the entries that every group of the stream is past; low_water.lua says when that is. This is for reading
-- without acknowledgements, where nothing else tells that an entry is handled.
-- KEYS[1]: the stream. ARGV: the reader's group.
-- Returns the number of other groups, and 1 if entries stay that this group was delivered, so that another call has to
-- trim them; else 0.
local key = KEYS[1]

local groups = groups_of(key)
if failed(groups) then
  return groups
end
local group, others = own_and_others(groups, ARGV[1])
if not group then -- the group is gone; when it is made again, it must be given the entries that are here
  return {others, 0}
end
local mark, inclusive = low_water(key, groups)
redis.call('XTRIM', key, 'MINID', mark)
if inclusive then
  redis.call('XDEL', key, mark)
end
local own = group['last-delivered-id']
local left = less(mark, own) or mark == own and not inclusive
return {others, left and 1 or 0}
