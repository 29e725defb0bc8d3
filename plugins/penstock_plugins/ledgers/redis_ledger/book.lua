#!lua
-- The book of a ledger on Redis or Valkey: carries out one batch of steps, all of it or nothing.
--
-- It is penstock.policy.ledger_book once more, on keys of the server; both answer alike, which tests compare step by
-- step. First everything is read and reckoned, in tables of this script; what was changed is written at the end. So a
-- step that fails, a key of a wrong type or a full memory leave all as it was.
--
-- KEYS     all that a ledger has, under one hash tag (one slot of a cluster):
--   1 meta     hash: version, now (the latest time ever), tombstone (the longest lease, in seconds)
--   2 windows  hash: window key -> packed {limit tokens, limit money, {bucket, ...}}, the limits only if set by hand
--   3 ends     sorted set: window key by the end of its last bucket; then it is looked at and forgotten
--   4 holds    hash: id -> packed {account, output, reserved at, lease ends, top-ups, lapsed, {part, ...}}
--   5 due      sorted set: id by the time at which something is to be done about the hold
--   6 settled  sorted set: id by the time until which it is known as settled
--   7 history  list of packed rows: what was done by hand
--   8 journal  hash: packed {quarter, account, target, estimated} -> packed sums
--   9 quarters sorted set: fields of the journal by their quarter of an hour
-- ARGV[1]  the steps, packed; ARGV[2] the time, or '' for the server's own
-- Answers  packed {now, {answer, ...}}, or {false, version} where the content is of another version
--
-- Figures. Numbers here are doubles, exact up to 2^53, which is less than 10 million USD in nano-USD. So money is a
-- pair: whole USD (rounded down) and the nano-USD above them, 0 to 999,999,999. An amount is {tokens, USD, nano-USD}.

local VERSION = 1
local E9, E6 = 1000000000, 1000000
local QUARTER = 900        -- seconds: days of every time zone begin at a quarter of an hour
local MOST_HISTORY = 10000 -- rows, some megabytes: what people do by hand is seldom more in years
local JOURNAL_KEPT = 34560000 -- seconds, 400 days: a year can be compared with the one before
local SWEEP = 1000         -- what is over is forgotten in portions, so that no batch waits long for it

local META, WINDOWS, ENDS, HOLDS, DUE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local SETTLED, HISTORY, JOURNAL, QUARTERS = KEYS[6], KEYS[7], KEYS[8], KEYS[9]

local call, pack, unpack_ = redis.call, cmsgpack.pack, cmsgpack.unpack
local floor, fmod = math.floor, math.fmod

local function exactly(number) return string.format('%.17g', number) end

-- Amounts

local function plus(a, b)
  local usd, nano = a[2] + b[2], a[3] + b[3]
  if nano >= E9 then usd, nano = usd + 1, nano - E9 end
  return {a[1] + b[1], usd, nano}
end

local function minus(a, b)
  local usd, nano = a[2] - b[2], a[3] - b[3]
  if nano < 0 then usd, nano = usd - 1, nano + E9 end
  return {a[1] - b[1], usd, nano}
end

local function less_money(a, b) return a[2] < b[2] or (a[2] == b[2] and a[3] < b[3]) end

local function at_most(a, b)
  local poorer = less_money(a, b) and a or b
  return {math.min(a[1], b[1]), poorer[2], poorer[3]}
end

local function at_least(a, b)
  local richer = less_money(a, b) and b or a
  return {math.max(a[1], b[1]), richer[2], richer[3]}
end

local function same(a, b) return a[1] == b[1] and a[2] == b[2] and a[3] == b[3] end

local NOTHING = {0, 0, 0}

-- Windows: {key, limit tokens, limit money, buckets, held, spent, estimated}. A bucket is {finish, held, spent,
-- estimated}; a window's own figures are the sums over its buckets, made when it is read: they cannot differ.

local now, tombstone
local windows, changed_windows = {}, {}

local function window(key)
  local page = windows[key]
  if page then return page end
  page = {key = key, limit_tokens = false, limit_money = false, buckets = {}}
  page.held, page.spent, page.estimated = NOTHING, NOTHING, NOTHING
  windows[key] = page
  local kept = call('HGET', WINDOWS, key)
  if not kept then return page end
  page.kept = true
  local read = unpack_(kept)
  page.limit_tokens, page.limit_money = read[1], read[2]
  for _, b in ipairs(read[3]) do
    page.kept_until = b[1]
    -- What has left the window is let go.
    if b[1] > now then
      local bucket = {finish = b[1], held = {b[2], b[3], b[4]}, spent = {b[5], b[6], b[7]}, estimated = {b[8], b[9], b[10]}}
      page.buckets[#page.buckets + 1] = bucket
      page.held = plus(page.held, bucket.held)
      page.spent = plus(page.spent, bucket.spent)
      page.estimated = plus(page.estimated, bucket.estimated)
    end
  end
  return page
end

local function is_known(page) return #page.buckets > 0 or page.limit_tokens or page.limit_money end

-- Where what is reserved now is counted. A window goes on until its end, whatever a later step thinks of it.
local function bucket_of(page, use)
  local last = page.buckets[#page.buckets]
  if last and (not use[3] or use[2] <= last.finish) then return last end
  last = {finish = use[2], held = NOTHING, spent = NOTHING, estimated = NOTHING}
  page.buckets[#page.buckets + 1] = last
  changed_windows[page.key] = page
  return last
end

-- The bucket in which a part of a hold is counted; nil where it has left its window and counts no more.
local function find(key, finish)
  local page = window(key)
  for _, bucket in ipairs(page.buckets) do
    if bucket.finish == finish then return page, bucket end
  end
end

local function add(page, bucket, held, spent, estimated)
  page.held, bucket.held = plus(page.held, held), plus(bucket.held, held)
  page.spent, bucket.spent = plus(page.spent, spent), plus(bucket.spent, spent)
  page.estimated, bucket.estimated = plus(page.estimated, estimated), plus(bucket.estimated, estimated)
  changed_windows[page.key] = page
end

local function write_windows()
  for key, page in pairs(changed_windows) do
    if is_known(page) then
      local buckets = {}
      for i, b in ipairs(page.buckets) do
        local h, s, e = b.held, b.spent, b.estimated
        buckets[i] = {b.finish, h[1], h[2], h[3], s[1], s[2], s[3], e[1], e[2], e[3]}
      end
      call('HSET', WINDOWS, key, pack({page.limit_tokens, page.limit_money, buckets}))
      local last = page.buckets[#page.buckets]
      if not last then
        call('ZREM', ENDS, key)
      elseif last.finish ~= page.kept_until then
        call('ZADD', ENDS, exactly(last.finish), key)
      end
    elseif page.kept then
      call('HDEL', WINDOWS, key)
      call('ZREM', ENDS, key)
    end
  end
end

-- Holds: a part is {amount, {key, finish, key, finish, ...}}: what was reserved at one time, and where it is counted.

local holds, changed_holds = {}, {}

local function read_hold(id, kept)
  local read = unpack_(kept)
  local hold = {id = id, account = read[1], output = read[2], reserved_at = read[3], lease_ends = read[4],
    top_ups = read[5], lapsed = read[6], parts = read[7], kept = true}
  holds[id] = hold
  return hold
end

local function hold_of(id)
  local hold = holds[id]
  if hold == nil then
    local kept = call('HGET', HOLDS, id)
    hold = kept and read_hold(id, kept) or false
    holds[id] = hold
  end
  return hold and not hold.over and hold
end

local function drop(hold)
  hold.over = true
  changed_holds[hold.id] = hold
end

local function amount_of(hold)
  local sum = NOTHING
  for _, part in ipairs(hold.parts) do sum = plus(sum, part[1]) end
  return sum
end

local function counts_until(hold)
  local latest = 0
  for _, part in ipairs(hold.parts) do
    local places = part[2]
    for i = 2, #places, 2 do latest = math.max(latest, places[i]) end
  end
  return latest
end

-- Calls f(part's amount, page, bucket) wherever the hold still counts.
local function each_place(hold, f)
  for _, part in ipairs(hold.parts) do
    local places = part[2]
    for i = 1, #places, 2 do
      local page, bucket = find(places[i], places[i + 1])
      if bucket then f(part[1], page, bucket) end
    end
  end
end

-- Charges a hold in full: nobody knows what became of its call.
local function lapse(hold)
  hold.lapsed = true
  each_place(hold, function(amount, page, bucket) add(page, bucket, minus(NOTHING, amount), amount, amount) end)
  changed_holds[hold.id] = hold
end

-- Counts a lapsed hold as held again; what of its charge was taken away by hand is not taken away once more.
local function revive(hold)
  hold.lapsed = false
  each_place(hold, function(amount, page, bucket)
    local back = minus(NOTHING, at_most(amount, bucket.estimated))
    add(page, bucket, amount, back, back)
  end)
  changed_holds[hold.id] = hold
end

local function write_holds()
  for id, hold in pairs(changed_holds) do
    if not hold.over then
      call('HSET', HOLDS, id, pack({hold.account, hold.output, hold.reserved_at, hold.lease_ends, hold.top_ups,
        hold.lapsed, hold.parts}))
      call('ZADD', DUE, exactly(hold.lapsed and counts_until(hold) or hold.lease_ends), id)
    elseif hold.kept then
      call('HDEL', HOLDS, id)
      call('ZREM', DUE, id)
    end
  end
end

-- Settled ids, the journal and the history

local buried, history, journal = {}, {}, {}

local function is_settled(id)
  if buried[id] then return true end
  local known_until = call('ZSCORE', SETTLED, id)
  return known_until and tonumber(known_until) > now
end

local function write_down(account, spent)
  local quarter = floor(now / QUARTER) * QUARTER
  for _, one in ipairs(spent) do
    local field = pack({quarter, account, one[1], one[2]})
    local sums = journal[field]
    if not sums then
      local kept = call('HGET', JOURNAL, field)
      sums = kept and unpack_(kept) or {0, 0, 0, 0, 0, 0, 0, 0, 0}
      sums.quarter = quarter
      journal[field] = sums
    end
    -- One more call; attempts and five kinds of tokens; USD and nano-USD.
    sums[1] = sums[1] + 1
    for i = 2, 9 do sums[i] = sums[i] + one[i + 1] end
    if sums[9] >= E9 then sums[8], sums[9] = sums[8] + 1, sums[9] - E9 end
  end
end

local function write_records()
  for id, known_until in pairs(buried) do call('ZADD', SETTLED, exactly(known_until), id) end
  for field, sums in pairs(journal) do
    local quarter = sums.quarter
    sums.quarter = nil
    call('HSET', JOURNAL, field, pack(sums))
    call('ZADD', QUARTERS, exactly(quarter), field)
  end
  for _, row in ipairs(history) do call('RPUSH', HISTORY, pack(row)) end
  if #history > 0 then call('LTRIM', HISTORY, -MOST_HISTORY, -1) end
end

-- Room. A use is {key, finish, rolling, limit tokens, limit money}: a window with the limits that count in it.

local function is_over(uses)
  for _, use in ipairs(uses) do
    if use[2] <= now then return true end
  end
  return false
end

-- A limit that was set by hand goes before those of the step.
local function limits(use)
  local page = window(use[1])
  return page.limit_tokens or use[4], page.limit_money or use[5], page
end

-- How much of `need` is not free beside `used`; nil where it fits. Where more was charged than there is, nothing fits.
local function missing(use, need, used)
  local tokens, money = limits(use)
  local sum, lack, fits = plus(need, used), {0, 0, 0}, true
  if tokens and sum[1] > tokens then lack[1], fits = sum[1] - tokens, false end
  if money then
    local more = minus(sum, {0, money[1], money[2]})
    if more[2] >= 0 and (more[2] > 0 or more[3] > 0) then lack[2], lack[3], fits = more[2], more[3], false end
  end
  if not fits then return lack end
end

local function refills_at(use, page, need)
  local spent = page.spent
  for _, bucket in ipairs(page.buckets) do
    spent = minus(spent, bucket.spent)
    if not missing(use, need, spent) then return bucket.finish end
  end
  return false
end

-- Where there is no room: {key, limits, missing, missing with every hold released, refills at, frees at}; and whether
-- there would be none with every hold released.
local function lacks_of(uses, need)
  local lacks, hopeless = {}, false
  for _, use in ipairs(uses) do
    local tokens, money, page = limits(use)
    local lack = missing(use, need, plus(page.held, page.spent))
    if lack then
      local of_spent = missing(use, need, page.spent) or false
      hopeless = hopeless or of_spent ~= false
      local refills = of_spent and refills_at(use, page, need)
      local first = page.buckets[1]
      lacks[#lacks + 1] = {use[1], tokens, money, lack, of_spent, refills, first and first.finish or false}
    end
  end
  return lacks, hopeless
end

-- Counts an amount in all windows; returns the places: {key, finish, key, finish, ...}.
local function count(uses, amount)
  local places = {}
  for _, use in ipairs(uses) do
    local page = window(use[1])
    local bucket = bucket_of(page, use)
    add(page, bucket, amount, NOTHING, NOTHING)
    places[#places + 1] = use[1]
    places[#places + 1] = bucket.finish
  end
  return places
end

-- Lines: {input tokens, input USD, input nano-USD, rate / 10^6, rate % 10^6, most output}, the rate in nano-USD per
-- million tokens. It comes in two parts because output * rate is more than a double holds.

local function at_output(line, output)
  local given = math.min(output, line[6])
  local fine = given * line[5]
  local rest = fmod(fine, E6)
  local nano = given * line[4] + (fine - rest) / E6
  if rest > 0 then nano = nano + 1 end -- rounded up
  local above = fmod(nano, E9)
  return plus({line[1], line[2], line[3]}, {given, (nano - above) / E9, above})
end

local function dearest(lines, output)
  local most = NOTHING
  for _, line in ipairs(lines) do most = at_least(most, at_output(line, output)) end
  return most
end

local function fits(amount, room)
  if room.tokens and amount[1] > room.tokens then return false end
  return not (room.money and less_money(room.money, amount))
end

-- What is free in all windows together.
local function room_of(uses)
  local room = {}
  for _, use in ipairs(uses) do
    local tokens, money, page = limits(use)
    local used = plus(page.held, page.spent)
    if tokens then room.tokens = math.min(room.tokens or math.huge, tokens - used[1]) end
    if money then
      local free = minus({0, money[1], money[2]}, used)
      if not room.money or less_money(free, room.money) then room.money = free end
    end
  end
  return room
end

-- The largest output from `least`, which fits, to `most` at which every line fits: halving, so that each figure on the
-- way is one that is compared exactly.
local function most_output(lines, room, least, most)
  for _, line in ipairs(lines) do
    local top = math.min(most, line[6])
    if not fits(at_output(line, top), room) then
      local low, high = least, top
      while high - low > 1 do
        local middle = floor((low + high) / 2)
        if fits(at_output(line, middle), room) then low = middle else high = middle end
      end
      most = low
    end
  end
  return most
end

-- Steps. Answers: 1 held, 2 lacking, 3 charged, 4 known, 5 stale, 6 changed, 7 released.

local KNOWN, STALE = {4}, {5}
local barred = {}

local function held(hold)
  local amount = amount_of(hold)
  return {1, hold.output, amount}
end

local function reserve(step)
  local id, account, uses, lines, least, most, lease, waits = step[2], step[3], step[4], step[5], step[6], step[7],
    step[8], step[9]
  local hold = hold_of(id)
  if hold then return held(hold) end
  if is_settled(id) then return KNOWN end
  if is_over(uses) then return STALE end
  local amount = dearest(lines, least)
  local lacks, hopeless = lacks_of(uses, amount)
  local behind = {}
  for _, use in ipairs(uses) do
    if barred[use[1]] then behind[#behind + 1] = use[1] end
  end
  if #lacks > 0 or #behind > 0 then
    if waits and not hopeless then
      for _, lack in ipairs(lacks) do barred[lack[1]] = true end
    end
    local shortest, would_fit = dearest(lines, math.min(least, 1)), true
    for _, use in ipairs(uses) do
      local page = window(use[1])
      if missing(use, shortest, hopeless and page.spent or plus(page.held, page.spent)) then would_fit = false end
    end
    return {2, lacks, behind, would_fit}
  end
  local output = most
  if least < most then
    output = most_output(lines, room_of(uses), least, most)
    amount = dearest(lines, output)
  end
  hold = {id = id, account = account, output = output, reserved_at = now, lease_ends = now + lease, top_ups = 0,
    lapsed = false, parts = {{amount, count(uses, amount)}}}
  if lease > tombstone and lease < math.huge then tombstone = lease end
  -- An id that was settled, forgotten and reserved again within one batch is still kept.
  hold.kept = holds[id] and holds[id].kept
  holds[id], changed_holds[id] = hold, hold
  return held(hold)
end

local function top_up(step)
  local id, number, uses, more = step[2], step[3], step[4], step[5]
  local hold = hold_of(id)
  if not hold then return KNOWN end
  if number <= hold.top_ups then return held(hold) end
  if is_over(uses) then return STALE end
  local lacks = lacks_of(uses, more)
  if #lacks > 0 then return {2, lacks, {}, false} end
  if hold.lapsed then revive(hold) end
  hold.top_ups = number
  local places, last = count(uses, more), hold.parts[#hold.parts]
  local alike = #places == #last[2]
  for i, place in ipairs(places) do alike = alike and place == last[2][i] end
  if alike then last[1] = plus(last[1], more) else hold.parts[#hold.parts + 1] = {more, places} end
  changed_holds[id] = hold
  return held(hold)
end

-- Each part takes what it held, in the window that it was held in; the last one all the rest.
local function charge(hold, charged, estimated)
  local rest = charged
  for i, part in ipairs(hold.parts) do
    local share = i == #hold.parts and rest or at_most(rest, part[1])
    rest = minus(rest, share)
    local places = part[2]
    for j = 1, #places, 2 do
      local page, bucket = find(places[j], places[j + 1])
      if bucket then add(page, bucket, minus(NOTHING, part[1]), share, estimated and share or NOTHING) end
    end
  end
end

local function settle(step)
  local id, charged, estimated, account, uses, spent = step[2], step[3], step[4], step[5], step[6], step[7]
  if is_settled(id) then return KNOWN end
  local hold = hold_of(id)
  if not hold and is_over(uses) then return STALE end
  buried[id] = now + tombstone
  if #spent > 0 then write_down(hold and hold.account or account, spent) end
  if hold then
    drop(hold)
    if hold.lapsed then revive(hold) end
  elseif #uses > 0 then
    hold = {parts = {{NOTHING, count(uses, NOTHING)}}}
  else
    return KNOWN
  end
  local turns, seen = {}, {}
  for _, part in ipairs(hold.parts) do
    for i = 1, #part[2], 2 do
      local page = window(part[2][i])
      if not seen[page.key] and #page.buckets > 0 then
        seen[page.key] = true
        turns[#turns + 1] = {page.key, page.spent, false, page.buckets[#page.buckets].finish}
      end
    end
  end
  charge(hold, charged, estimated)
  for _, turn in ipairs(turns) do turn[3] = window(turn[1]).spent end
  return {3, amount_of(hold), turns}
end

local function renew(step)
  local ids, lease = step[2], step[3]
  if lease > tombstone and lease < math.huge then tombstone = lease end
  for _, id in ipairs(ids) do
    local hold = hold_of(id)
    if hold then
      hold.lease_ends = now + lease
      if hold.lapsed then revive(hold) end
      changed_holds[id] = hold
    end
  end
  return KNOWN
end

local function is_below(account, parent)
  return parent == '' or account == parent or account:sub(1, #parent + 1) == parent .. '/'
end

local function adopt(step)
  local account, use = step[2], step[3]
  local page = window(use[1])
  if is_known(page) then return KNOWN end
  if is_over({use}) then return STALE end
  -- The names of windows are period:zone:account. Reading them all is dear, and done when a limit is new.
  for _, key in ipairs(call('HKEYS', WINDOWS)) do window(key) end
  local period, whose = use[1]:match('^([^:]*):[^:]*:(.*)$')
  local spent = NOTHING
  for key, other in pairs(windows) do
    local its_period, its_account = key:match('^([^:]*):[^:]*:(.*)$')
    if key ~= use[1] and its_period == period and its_account == whose then spent = at_least(spent, other.spent) end
  end
  local bucket = bucket_of(page, use)
  add(page, bucket, NOTHING, spent, NOTHING)
  local kept = call('HGETALL', HOLDS)
  for i = 1, #kept, 2 do
    if holds[kept[i]] == nil then read_hold(kept[i], kept[i + 1]) end
  end
  for id, hold in pairs(holds) do
    if hold and not hold.over and is_below(hold.account, account) then
      for _, part in ipairs(hold.parts) do
        local places, amount = part[2], part[1]
        places[#places + 1] = use[1]
        places[#places + 1] = bucket.finish
        if hold.lapsed then
          add(page, bucket, NOTHING, amount, amount)
        else
          add(page, bucket, amount, NOTHING, NOTHING)
        end
      end
      changed_holds[id] = hold
    end
  end
  return KNOWN
end

local function release(step)
  local id, reason = step[2], step[3]
  local hold = hold_of(id)
  if not hold then return KNOWN end
  local amount = amount_of(hold)
  if not hold.lapsed then
    hold.lease_ends = math.min(hold.lease_ends, now)
    lapse(hold)
  end
  history[#history + 1] = {now, 'release', hold.account, id, reason, {amount}}
  return {7, amount}
end

-- What is spent, and the limits that count.
local function state(use)
  local tokens, money, page = limits(use)
  return {page.spent, tokens, money}
end

-- Corrects what is spent: the newest buckets first, so that no bucket goes below nothing.
local function spend(page, use, wanted)
  if same(wanted, page.spent) then return end
  local last, change = bucket_of(page, use), minus(wanted, page.spent)
  add(page, last, NOTHING, at_least(change, NOTHING), NOTHING)
  local less = minus(NOTHING, at_most(change, NOTHING))
  for i = #page.buckets, 1, -1 do
    local bucket = page.buckets[i]
    local share = at_most(bucket.spent, less)
    add(page, bucket, NOTHING, minus(NOTHING, share), NOTHING)
    -- An estimate is part of what is spent.
    add(page, bucket, NOTHING, NOTHING, minus(at_most(bucket.estimated, bucket.spent), bucket.estimated))
    less = minus(less, share)
  end
end

local function change(step)
  local account, use, reset, limit_tokens, limit_money = step[2], step[3], step[4], step[5], step[6]
  local spent_tokens, spent_money, reason = step[7], step[8], step[9]
  if is_over({use}) then return STALE end
  local before, page = state(use), window(use[1])
  local wanted = page.spent
  if reset then
    page.limit_tokens, page.limit_money = false, false
    wanted = NOTHING
  end
  page.limit_tokens = limit_tokens or page.limit_tokens
  page.limit_money = limit_money or page.limit_money
  if spent_tokens then wanted = {spent_tokens, wanted[2], wanted[3]} end
  if spent_money then wanted = {wanted[1], spent_money[1], spent_money[2]} end
  spend(page, use, wanted)
  changed_windows[page.key] = page
  local after = state(use)
  history[#history + 1] = {now, reset and 'reset' or 'set', account, use[1], reason, {before, after}}
  return {6, before, after}
end

-- Time

local function begin()
  local kept = call('HMGET', META, 'version', 'now', 'tombstone')
  if kept[1] and tonumber(kept[1]) ~= VERSION then return false, kept[1] end
  if ARGV[2] ~= '' then
    now = tonumber(ARGV[2])
  else
    local time = call('TIME')
    now = tonumber(time[1]) + tonumber(time[2]) / E6
  end
  -- A clock that goes back reopens nothing.
  now = math.max(now, tonumber(kept[2] or '-inf') or now)
  tombstone = tonumber(kept[3] or '60')
  return true
end

-- Holds whose lease has ended are charged; lapsed ones of which nothing counts any more are forgotten.
local function end_leases()
  for _, id in ipairs(call('ZRANGEBYSCORE', DUE, '-inf', exactly(now))) do
    local hold = hold_of(id)
    if hold then
      if not hold.lapsed then lapse(hold) end
      if counts_until(hold) <= now then drop(hold) end
    end
  end
end

-- What is over, in a portion. It is looked for before anything is written, and so is each key's type.
local function over()
  local portion = {
    settled = call('ZRANGEBYSCORE', SETTLED, '-inf', exactly(now), 'LIMIT', 0, SWEEP),
    quarters = call('ZRANGEBYSCORE', QUARTERS, '-inf', exactly(now - JOURNAL_KEPT), 'LIMIT', 0, SWEEP),
  }
  for _, key in ipairs(call('ZRANGEBYSCORE', ENDS, '-inf', exactly(now), 'LIMIT', 0, SWEEP)) do
    changed_windows[key] = window(key)
  end
  for _, hash in ipairs({WINDOWS, HOLDS, JOURNAL}) do call('HLEN', hash) end
  call('LLEN', HISTORY)
  return portion
end

local function forget(portion)
  for _, id in ipairs(portion.settled) do
    if not buried[id] then call('ZREM', SETTLED, id) end
  end
  for _, field in ipairs(portion.quarters) do
    call('ZREM', QUARTERS, field)
    call('HDEL', JOURNAL, field)
  end
end

local same_version, other = begin()
if not same_version then return pack({false, other}) end
local portion = over()
end_leases()
local does = {reserve, top_up, settle, renew, adopt, release, change}
local answers = {}
for i, step in ipairs(unpack_(ARGV[1])) do answers[i] = does[step[1]](step) end
write_windows()
write_holds()
write_records()
forget(portion)
call('HSET', META, 'version', VERSION, 'now', exactly(now), 'tombstone', exactly(tombstone))
return pack({now, answers})
