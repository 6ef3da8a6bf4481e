-- The history of channels. A place is a time in milliseconds and a number; it is written as streams write theirs.
local PAST, MARGIN = P .. 'past', 60000
-- So many entries are read at once: each may be as large as a publication can be.
local SOME, ROUNDS = 50, 20

local function write_place(ms, n) return string.format('%d-%d', ms, n) end

local function read_place(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return num(ms), num(n)
end

local function is_later(ms, n, other_ms, other_n) return ms > other_ms or (ms == other_ms and n > other_n) end

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

-- What is longer ago than anything that is kept goes by itself.
local function outlast(channel, age)
  call('PEXPIRE', P .. 'H:' .. channel, age + MARGIN)
  call('PEXPIRE', P .. 'L:' .. channel, age + MARGIN)
end
