-- What a channel remembers: the newest, or what comes after a place; of large ones fewer than are asked for.
local BYTES = 4194304
local now, life = clamp(num(ARGV[1])), life_of(ARGV[2], ARGV[3])
local channel, most, age, limit = ARGV[4], num(ARGV[5]), num(ARGV[6]), num(ARGV[7])
local since_life, since_ms, since_n = ARGV[8], num(ARGV[9]), num(ARGV[10])
trim(channel, most, age, now)
local key, lost = P .. 'H:' .. channel, know(channel, age, now, true)
local ms, n = last_place()
-- Who asks again and again in a quiet channel does not fall behind what is kept.
if now - ms > 1000 then ms, n = next_place(now) end

-- Entries in the order of `range`, and whether there are more.
local function read(range, from, to)
  local entries, bytes, chunk = {}, 0, 2
  while true do
    local count = math.min(chunk, limit + 1 - #entries)
    local some = call(range, key, from, to, 'COUNT', count)
    for _, entry in ipairs(some) do
      bytes = bytes + #entry[2][2]
      if #entries == limit or (#entries > 0 and bytes > BYTES) then return entries, true end
      entries[#entries + 1] = entry
    end
    if #some < count then return entries, false end
    from = '(' .. some[#some][1]
    -- Many only where they are small.
    chunk = bytes < 4096 * #entries and math.min(chunk * 4, 200) or 2
  end
end

local gap, entries, more = 0, nil, 0
if since_life ~= '' and (since_life ~= life or is_later(since_ms, since_n, ms, n)) then
  gap, since_life = 1, ''
end
if since_life == '' then
  local newest = read('XREVRANGE', '+', '-')
  entries = {}
  for i = #newest, 1, -1 do entries[#entries + 1] = newest[i] end
else
  if lost then
    local lost_ms, lost_n = read_place(lost)
    if is_later(lost_ms, lost_n, since_ms, since_n) then gap = 1 end
  end
  local are_more
  entries, are_more = read('XRANGE', '(' .. write_place(since_ms, since_n), '+')
  if are_more then
    more = 1
    ms, n = read_place(entries[#entries][1])
  end
end
local newest = call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
local last_ms, last_n = read_place(newest and newest[1] or lost or '0-0')
local said = {}
for i, entry in ipairs(entries) do
  local at_ms, at_n = read_place(entry[1])
  said[i] = { at_ms, at_n, entry[2][2] }
end
return { num(life), ms, n, last_ms, last_n, gap, more, said }
