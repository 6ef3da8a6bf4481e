-- Does a bounded part of what has to be done from time to time: expiry, forgetting ids, trimming.
local now, cap, keep = num(ARGV[1]), num(ARGV[2]), num(ARGV[3])
local EXPIRING, FORGETTING, TRIMMING, TARGETS, ROSTER = 1000, 2000, 1000, 100, 1000
local more = 0

-- Takes away what has expired; whose it was.
local function expire()
  local some = call('ZRANGEBYSCORE', P .. 'x', '-inf', now, 'LIMIT', 0, EXPIRING)
  local whose = {}
  for i = 1, #some do
    local colon = string.find(some[i], ':', 1, true)
    local length = num(string.sub(some[i], 1, colon - 1))
    local target, id = string.sub(some[i], colon + 1, colon + length), string.sub(some[i], colon + length + 1)
    local at = lies(target, id)
    if at then remove(target, at[1], at[2], at[3], EXPIRED, now) end
    call('ZREM', P .. 'x', some[i])
    if whose[#whose] ~= target then whose[#whose + 1] = target end
  end
  if #some == EXPIRING then more = 1 end
  return #some, whose
end

-- Forgets ids that need not be unique any more and whose message is gone. Of what still lies somewhere it is noted that
-- it can be forgotten when it goes.
local function sweep(from)
  local forgotten, work = 0, 0
  local function look(id)
    local record = id_record(id)
    work = work + 1
    if not record or hour(record[AT]) >= from then return end
    if is_there(id, record) then
      record[LATE] = 1
      save_id(id, record)
    else
      work = work + forget(id, record)
      forgotten = forgotten + 1
    end
  end
  while work < FORGETTING do
    local id = call('LPOP', P .. 'over')
    if not id then break end
    look(id)
  end
  while work < FORGETTING do
    local oldest = call('LINDEX', P .. 'sweep', 0)
    if not oldest or num(oldest) >= from then return forgotten end
    local id = call('LPOP', P .. 'i:' .. oldest)
    if id then look(id) else call('LPOP', P .. 'sweep') end
  end
  more = 1
  return forgotten
end

-- Up to where all members of a channel have acknowledged everything; 0 where there are too many to look.
local function slowest(channel)
  local members, least = call('ZRANGE', P .. 'm:' .. channel, 0, ROSTER - 1), nil
  if #members >= ROSTER then return 0 end
  for i = 1, #members do
    local at = (load(P .. 'j:' .. members[i], channel) or { 0, 0, 0 })[ACKNOWLEDGED]
    least = math.min(least or at, at)
  end
  return least or 0
end

-- Takes away from one set what was acknowledged before a time; how much, and when that comes which is to stay.
local function trim_set(target, state, till, before, budget)
  local some = call('ZRANGEBYSCORE', set_of(target, state), '-inf', till, 'WITHSCORES', 'LIMIT', 0, budget)
  for i = 1, #some, 2 do
    local id = read_member(some[i])
    -- The first that is to stay ends it: a later one was hardly acknowledged earlier, and its turn comes.
    local since = state > 0 and receipt(target, id, '')[STATE + 1] or id_record(id)[AT]
    if since >= before then return (i - 1) / 2, since end
    remove(target, some[i], state, num(some[i + 1]), TRIMMED, now)
  end
  return #some / 2, #some == 2 * budget and now - keep or nil
end

-- Takes away what was acknowledged long ago.
local function trim()
  local before, trimmed = now - keep, 0
  for _, target in ipairs(call('ZRANGEBYSCORE', P .. 'k', '-inf', '(' .. string.format('%d', before), 'LIMIT', 0, TARGETS)) do
    if trimmed >= TRIMMING then
      more = 1
      break
    end
    local again
    if string.byte(target, 1) == 117 then
      for state = 1, 4 do
        local count, since = trim_set(target, state, '+inf', before, TRIMMING)
        trimmed = trimmed + count
        if since and (not again or since < again) then again = since end
      end
    else
      local count, since = trim_set(target, 0, slowest(string.sub(target, 2)), before, TRIMMING)
      trimmed = trimmed + count
      -- Where somebody has not acknowledged yet, an hour later.
      again = since or num(call('HGET', P .. 'h:' .. target, 'n') or 0) > 0 and before + HOUR or nil
    end
    if again then call('ZADD', P .. 'k', again, target) else call('ZREM', P .. 'k', target) end
  end
  return trimmed
end

local expired, whose = expire()
local forgotten = sweep(first_hour(now, cap))
local trimmed = keep >= 0 and trim() or 0
return { expired, whose, trimmed, forgotten, more }
