-- Put in front of scripts that delete entries above the low-water mark. Returns the IDs among ids[from] to ids[to], which
-- ascend, that are pending in no group, and whether some are pending.
local function not_pending(key, groups, ids, from, to)
  local pending = {}
  for _, one in ipairs(groups) do
    local after = ids[from]
    repeat
      local page = redis.call('XPENDING', key, one['name'], after, ids[to], 5000)
      for _, entry in ipairs(page) do
        pending[entry[1]] = true
      end
      if #page == 5000 then
        after = '(' .. page[5000][1]
      end
    until #page < 5000
  end
  local free = {}
  for i = from, to do
    if not pending[ids[i]] then
      free[#free + 1] = ids[i]
    end
  end
  return free, #free < to - from + 1
end
