-- Remembers what was said in channels, at one place in all of them; nothing: something was said that is not known, there or,
-- without any, in all channels.
local now, life, run, said = num(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
if call('HSETNX', PAST, 'life', life) == 1 then call('HSET', PAST, 'run', run) end
if said == '' and #ARGV == 4 then call('HSET', PAST, 'life', life) end
local ms, n = next_place(now)
local id = write_place(ms, n)
for i = 5, #ARGV, 3 do
  local channel, most, age = ARGV[i], num(ARGV[i + 1]), num(ARGV[i + 2])
  if said == '' then lose(channel, id, age) else call('XADD', P .. 'H:' .. channel, id, 's', said) end
  trim(channel, most, age, now)
  outlast(channel, age)
end
return { num(call('HGET', PAST, 'life')), ms, n }
