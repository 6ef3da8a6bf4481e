-- How much of what a user has is not read. What lies in several places is one message.
local now, user = num(ARGV[1]), ARGV[2]
-- The most entries of one place that are looked at.
local EXAMINED = 10000
local own, count = 'u' .. user, 0
local head = call('HGET', P .. 'h:' .. own, 'x')
if head and num(head) <= now then
  -- Some may have expired; when nothing has, it is noted until when that is so.
  local left, soonest, over = EXAMINED, nil, false
  for state = 0, 2 do
    local some = left > 0 and call('ZRANGE', set_of(own, state), 0, left - 1) or {}
    left = left - #some
    for i = 1, #some do
      local _, expires = read_member(some[i])
      if expires and expires <= now then over = true else count = count + 1 end
      if expires and (not soonest or expires < soonest) then soonest = expires end
    end
  end
  if not over and soonest and left > 0 then call('HSET', P .. 'h:' .. own, 'x', soonest) end
else
  for state = 0, 2 do count = count + call('ZCARD', set_of(own, state)) end
  count = math.min(count, EXAMINED)
end
local joined, seen = call('HGETALL', P .. 'j:' .. user), {}
for i = 1, #joined, 2 do
  local target, progress, examined = 'c' .. joined[i], unpack_record(joined[i + 1]), 0
  local at = '(' .. string.format('%d', math.max(progress[SINCE], progress[READ]))
  while examined < EXAMINED do
    local some = call('ZRANGEBYSCORE', set_of(target, 0), at, '+inf', 'WITHSCORES', 'LIMIT', 0, 1000)
    for j = 1, #some, 2 do
      local member = some[j]
      local id = read_member(member)
      local known = receipt(target, id, user)
      if known[STATE] < 3 and known[GONE] == 0 and not is_over(member, now) and not seen[id] then
        seen[id] = true
        local also = false
        for state = 0, 2 do also = also or call('ZSCORE', set_of(own, state), member) end
        if not also then count = count + 1 end
      end
      at = '(' .. some[j + 1]
    end
    examined = examined + #some / 2
    if #some < 2000 then break end
  end
end
return count
