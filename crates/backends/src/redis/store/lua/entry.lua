-- One entry of an inbox or a channel: how it gets there, how it goes.
local last_place
local function next_place()
  last_place = last_place or num(call('HGET', P .. 'meta', 'seq') or 0)
  last_place = last_place + 1
  return last_place
end

local function save_place()
  if last_place then call('HSET', P .. 'meta', 'seq', last_place) end
end

-- Takes an entry away, and says in its receipt why. Its message goes with its last place.
local function remove(target, member, state, place, why, now)
  local id, expires = read_member(member)
  call('ZREM', set_of(target, state), member)
  local left = call('HINCRBY', P .. 'h:' .. target, 'n', -1)
  if expires then
    call('ZREM', P .. 'x', expiry_of(target, id))
    if left == 0 then call('HDEL', P .. 'h:' .. target, 'x') end
  end
  local gone = receipt(target, id, '')
  gone[GONE], gone[GONE_AT], gone[PLACE] = why, now, place
  save_receipt(target, id, '', gone)
  unref(id)
  return id
end

-- The oldest entry in some states: its member, state and place.
local function oldest_of(target, from, till)
  local member, state, place
  for candidate = from, till do
    local first = call('ZRANGE', set_of(target, candidate), 0, 0, 'WITHSCORES')
    if first[1] and (not place or num(first[2]) < place) then
      member, state, place = first[1], candidate, num(first[2])
    end
  end
  return member, state, place
end

-- What has to be written before anything is dropped.
local before_drop

-- Makes room: the oldest acknowledged entry goes, else the oldest.
local function drop_one(target, now)
  if before_drop then before_drop() end
  local member, state, place = oldest_of(target, 1, 4)
  if not member then member, state, place = oldest_of(target, 0, 0) end
  return member and remove(target, member, state, place, DROPPED, now)
end

-- Where a message lies in a target: its member, state and place.
local function lies(target, id)
  local record = id_record(id)
  local state = string.byte(target, 1) == 99 and 0 or receipt(target, id, '')[STATE]
  local member = record and member_of(id, record)
  local place = member and call('ZSCORE', set_of(target, state), member)
  return place and { member, state, num(place) }
end

-- What has expired there and waits for upkeep; of a bounded part, if much has expired anywhere.
local function expired_in(target, now)
  local over, soonest = {}, call('HGET', P .. 'h:' .. target, 'x')
  if not soonest or num(soonest) > now then return over end
  if before_drop then before_drop() end
  local prefix = expiry_of(target, '')
  for _, entry in ipairs(call('ZRANGEBYSCORE', P .. 'x', '-inf', now, 'LIMIT', 0, 1000)) do
    if string.sub(entry, 1, #prefix) == prefix then
      over[#over + 1] = lies(target, string.sub(entry, #prefix + 1)) or nil
    end
  end
  return over
end

-- Whether there are still too many entries when what is over, and all that are acknowledged, have made room.
local function is_full(target, count, most, over)
  count = count - #over
  for state = 1, 4 do
    if count < most then return false end
    count = count - call('ZCARD', set_of(target, state))
    for i = 1, #over do
      if over[i][2] == state then count = count + 1 end
    end
  end
  return count >= most
end

-- Puts an entry at the end of a target: its place and what had to go for it; nothing, and nothing goes: there is no room.
local function append(target, member, expires, most, refuses, now)
  local head = P .. 'h:' .. target
  local count, dropped = num(call('HGET', head, 'n') or 0), {}
  local over = count >= most and expired_in(target, now) or {}
  if refuses and is_full(target, count, most, over) then return nil end
  for i = 1, #over do remove(target, over[i][1], over[i][2], over[i][3], EXPIRED, now) end
  count = count - #over
  while count >= most do
    local id = drop_one(target, now)
    if not id then break end
    dropped[#dropped + 1] = id
    count = count - 1
  end
  local place = next_place()
  call('ZADD', set_of(target, 0), place, member)
  if expires > 0 then
    call('ZADD', P .. 'x', expires, expiry_of(target, (read_member(member))))
    -- Read again: it goes with the last entry.
    local soonest = call('HGET', head, 'x')
    if not soonest or expires < num(soonest) then call('HSET', head, 'x', expires) end
  end
  call('HSET', head, 'n', count + 1, 'last', place)
  if string.byte(target, 1) == 99 then call('ZADD', P .. 'k', 'NX', now, target) end
  return place, dropped
end

-- Puts an entry into each target: places, who refused, and what was dropped as {target, id, ...}.
local function spread(targets, member, expires, most, refuses, now)
  local places, refused, dropped = {}, {}, {}
  for i = 1, #targets do
    local place, gone = append(targets[i], member, expires, most, refuses, now)
    if place then
      places[#places + 1] = targets[i]
      places[#places + 1] = place
      for j = 1, #gone do
        dropped[#dropped + 1] = targets[i]
        dropped[#dropped + 1] = gone[j]
      end
    else
      refused[#refused + 1] = targets[i]
    end
  end
  return places, refused, dropped
end

-- Forgets an id and its receipts; how much work that was.
local function forget(id, record)
  local places = places_of(id, record)
  for i = 1, #places, 2 do
    if string.byte(places[i], 1) == 117 then
      call('HDEL', receipts_of(places[i], id), id)
    else
      call('UNLINK', receipts_of(places[i], id))
    end
  end
  if record[SPILLED] == 1 then call('HDEL', P .. 'p', id) end
  call('HDEL', P .. 'd', id)
  return #places / 2 + 1
end
