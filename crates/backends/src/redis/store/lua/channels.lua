-- On which rosters a user is.
return call('HKEYS', P .. 'j:' .. ARGV[1])
