-- Deletes what every group is past, after XACK: it trims below the low-water mark, so it needs no IDs but two.
-- KEYS[1]: the stream. ARGV: the group; the lowest and the highest ID of entries that were acknowledged and may be in the
-- stream still; how many of those above the mark are looked at, one by one; the ID from which on they are, or ''.
-- Returns the number of other groups; the lowest and the highest ID of those that may be left now, or '' and ''; from which
-- ID on the next call looks at those above the mark, or '' if all were looked at; and 1 if the IDs are needed, because
-- other entries lie in front, which no group is past. Then nothing was deleted.
local key, group, from, to, limit, cursor = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local groups = groups_of(key)
if failed(groups) then
  return groups
end
local own, others = own_and_others(groups, group)
local oldest = redis.pcall('XRANGE', key, '-', '+', 'COUNT', 1)
if failed(oldest) or not own or (oldest[1] and less(oldest[1][1], from)) then
  return {others, from, to, '', 1}
end
if not oldest[1] or less(to, oldest[1][1]) then
  return {others, '', '', '', 0}
end
local mark, inclusive, bound = low_water(key, groups)
if failed(redis.pcall('XTRIM', key, 'MINID', mark)) then
  return {others, from, to, '', 1}
end
if inclusive and not less(mark, from) then
  redis.call('XDEL', key, mark)
end
if less(to, mark) or (to == mark and inclusive) then
  return {others, '', '', '', 0}
end
if less(from, mark) then
  from = mark
end
if limit == 0 then
  return {others, from, to, cursor, 0}
end
-- Above the mark, an entry is stuck in a group. What was acknowledged may go all the same.
if cursor == '' or less(cursor, from) then
  cursor = from
end
local last = less(bound, to) and bound or to
local ids = {}
if not less(last, cursor) then
  for i, entry in ipairs(redis.call('XRANGE', key, cursor, last, 'COUNT', limit)) do
    ids[i] = entry[1]
  end
end
if #ids > 0 then
  local free = not_pending(key, groups, ids, 1, #ids)
  for at = 1, #free, 5000 do
    redis.call('XDEL', key, unpack(free, at, math.min(at + 4999, #free)))
  end
  if #ids == limit then
    return {others, from, to, ids[limit], 0}
  end
end
return {others, from, to, '', 0}
