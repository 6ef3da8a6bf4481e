-- The history of channels. A place is a time in milliseconds and a number; it is written as streams write theirs.
local PAST, MARGIN, WHILE = P .. 'past', 60000, 600000
-- So many entries are read at once, to be forgotten: each may be as large as a publication can be.
local SOME, ROUNDS = 10, 10

local function write_place(ms, n) return string.format('%d-%d', ms, n) end

local function read_place(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return num(ms), num(n)
end

local function is_later(ms, n, other_ms, other_n) return ms > other_ms or (ms == other_ms and n > other_n) end

-- No later than it is here: a node whose clock is ahead must not end the time of what others have said.
local function clamp(now)
  local time = call('TIME')
  return math.min(now, num(time[1]) * 1000 + floor(num(time[2]) / 1000))
end

-- Which life it is. Another run of Redis may know less than the one before, so it begins another.
local function life_of(fresh, run)
  local known = call('HMGET', PAST, 'life', 'run')
  if known[1] and (run == '' or known[2] == run) then return known[1] end
  if run ~= '' then call('HSET', PAST, 'run', run) end
  if known[1] and not known[2] then return known[1] end
  call('HSET', PAST, 'life', fresh)
  return fresh
end

local function last_place()
  local known = call('HMGET', PAST, 'ms', 'n')
  return num(known[1] or 0), num(known[2] or 0)
end

-- A place behind all others.
local function next_place(now)
  local ms, n = last_place()
  if now > ms then
    ms, n = now, 0
  elseif n + 1 < 1048576 then
    n = n + 1
  else
    ms, n = ms + 1, 0
  end
  call('HSET', PAST, 'ms', ms, 'n', n)
  return ms, n
end

-- Up to here something is missing.
local function lose(channel, id, age)
  local key = P .. 'L:' .. channel
  local known = call('GET', key)
  local ms, n = read_place(id)
  if not known or is_later(ms, n, read_place(known)) then call('SET', key, id, 'PX', age + MARGIN) end
end

-- What is known of a channel is known from some place on, also when all that was said there has gone by itself: nothing was
-- said since then, or it would be here. For who only asks that is noted for a while.
local function know(channel, age, now, asks)
  local key = P .. 'L:' .. channel
  local there, lost = call('EXISTS', P .. 'H:' .. channel) == 1, call('GET', key)
  if not there and not lost and now > age + MARGIN then
    lost = write_place(now - age - MARGIN, 0)
    call('SET', key, lost, 'PX', asks and math.min(age + MARGIN, WHILE) or age + MARGIN)
  elseif there then
    call('PEXPIRE', P .. 'H:' .. channel, age + MARGIN)
    call('PEXPIRE', key, age + MARGIN)
  elseif lost and call('PTTL', key) < WHILE then
    call('PEXPIRE', key, WHILE)
  end
  return lost
end

-- Forgets the oldest of a channel, up to a place; returns how many.
local function forget(channel, until_place, count, age)
  local key = P .. 'H:' .. channel
  local entries = call('XRANGE', key, '-', until_place, 'COUNT', count)
  if #entries == 0 then return 0 end
  local id = entries[#entries][1]
  local ms, n = read_place(id)
  lose(channel, id, age)
  call('XTRIM', key, 'MINID', '=', write_place(ms, n + 1))
  return #entries
end

-- Forgets what is more than a channel keeps, or older; so much at once that nobody waits for it.
local function trim(channel, most, age, now)
  for _ = 1, ROUNDS do
    local over = math.min(call('XLEN', P .. 'H:' .. channel) - most, SOME)
    if over <= 0 or forget(channel, '+', over, age) < SOME then break end
  end
  for _ = 1, ROUNDS do
    if now <= age or forget(channel, write_place(now - age, 0), SOME, age) < SOME then break end
  end
end
