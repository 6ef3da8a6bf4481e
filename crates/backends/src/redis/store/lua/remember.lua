-- Remembers what was said in channels, at one place in all of them; nothing: something was said there that is not known.
-- Without any channel that is so in all of them, which begins another life.
local now, fresh, run = clamp(num(ARGV[1])), ARGV[2], ARGV[3]
local life = life_of(fresh, run)
if #ARGV == 3 then
  life = fresh
  call('HSET', PAST, 'life', life)
end
local ms, n = next_place(now)
local id = write_place(ms, n)
for i = 4, #ARGV, 4 do
  local channel, most, age, said = ARGV[i], num(ARGV[i + 1]), num(ARGV[i + 2]), ARGV[i + 3]
  know(channel, age, now, false)
  if said == '' then lose(channel, id, age) else call('XADD', P .. 'H:' .. channel, id, 's', said) end
  trim(channel, most, age, now)
  know(channel, age, now, false)
end
return { num(life), ms, n }
