#!lua name=penstock_ledger
-- The book of a ledger on Redis or Valkey: carries out one batch of steps, all of it or nothing.
--
-- It is penstock.policy.ledger_book once more, on keys of the server; both answer alike, which tests compare step by
-- step. First everything is read and reckoned, in tables of this script; what was changed is written at the end. So a
-- step that fails, a key of a wrong type or a full memory leave all as it was.
--
-- KEYS     (`K` below) all that a ledger has, under one hash tag (one slot of a cluster):
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
--
-- Speed. Every call of every process waits for this. So it is a library (FUNCTION LOAD), whose functions are there
-- already when it is called: made anew for each call, as EVALSHA does, they took a third of its time. It calls the server
-- as seldom as it can, and changes figures in place.

local VERSION = 1
local E9, E6 = 1000000000, 1000000
local QUARTER = 900           -- seconds: days of every time zone begin at a quarter of an hour
local MOST_HISTORY = 10000    -- rows, some megabytes: what people do by hand is seldom more in years
local JOURNAL_KEPT = 34560000 -- seconds, 400 days: a year can be compared with the one before
local SWEEPS, SWEPT = 10, 1000 -- a second, and what is over that each forgets: no batch waits long for it
local HELD, SPENT, ESTIMATED = 2, 5, 8 -- where an amount begins in a bucket

-- The functions, and what one call works on; `begin` makes that anew, for a call may have ended in an error.
local B = {}
local K, now, tombstone

function B.begin(keys)
  K = keys
  B.windows, B.changed_windows, B.holds, B.changed_holds = {}, {}, {}, {}
  B.buried, B.journal, B.history, B.barred = {}, {}, {}, {}
  B.tombstone_grew = false
end

function B.exactly(number) return string.format('%.17g', number) end

-- Amounts

function B.plus(a, b)
  local usd, nano = a[2] + b[2], a[3] + b[3]
  if nano >= E9 then usd, nano = usd + 1, nano - E9 end
  return {a[1] + b[1], usd, nano}
end

function B.minus(a, b)
  local usd, nano = a[2] - b[2], a[3] - b[3]
  if nano < 0 then usd, nano = usd - 1, nano + E9 end
  return {a[1] - b[1], usd, nano}
end

function B.less_money(a, b) return a[2] < b[2] or (a[2] == b[2] and a[3] < b[3]) end

function B.at_most(a, b)
  local poorer = B.less_money(a, b) and a or b
  return {math.min(a[1], b[1]), poorer[2], poorer[3]}
end

function B.at_least(a, b)
  local richer = B.less_money(a, b) and b or a
  return {math.max(a[1], b[1]), richer[2], richer[3]}
end

-- The amount that begins at `at`.
function B.cut(row, at) return {row[at], row[at + 1], row[at + 2]} end

-- Adds an amount, or takes it away where the sign is -1, in place.
function B.put(row, at, amount, sign)
  local usd, nano = row[at + 1] + sign * amount[2], row[at + 2] + sign * amount[3]
  if nano >= E9 then
    usd, nano = usd + 1, nano - E9
  elseif nano < 0 then
    usd, nano = usd - 1, nano + E9
  end
  row[at], row[at + 1], row[at + 2] = row[at] + sign * amount[1], usd, nano
end

-- Windows. A bucket is {finish, held (3), spent (3), estimated (3)}; a page's `sum` is like one, of all its buckets. It is
-- made when the page is read: what is kept once cannot differ from itself.

function B.read_windows(keys)
  local kept = redis.call('HMGET', K[2], unpack(keys))
  for i, key in ipairs(keys) do
    local page = {key = key, limit_tokens = false, limit_money = false, buckets = {}, sum = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}
    B.windows[key] = page
    if kept[i] then
      page.kept = true
      local read = cmsgpack.unpack(kept[i])
      page.limit_tokens, page.limit_money = read[1], read[2]
      for _, bucket in ipairs(read[3]) do
        page.kept_until = bucket[1]
        -- What has left the window is let go.
        if bucket[1] > now then
          page.buckets[#page.buckets + 1] = bucket
          local sum = page.sum
          for i = HELD, ESTIMATED + 2 do sum[i] = sum[i] + bucket[i] end
          for i = HELD, ESTIMATED, 3 do
            if sum[i + 2] >= E9 then sum[i + 1], sum[i + 2] = sum[i + 1] + 1, sum[i + 2] - E9 end
          end
        end
      end
    end
  end
end

-- Reads what is not read yet of the windows that are named in every second or first place of `names`.
function B.need(names, step, name_of)
  local keys, seen = {}, {}
  for i = 1, #names, step do
    local key = name_of and name_of(names[i]) or names[i]
    if not B.windows[key] and not seen[key] then
      seen[key] = true
      keys[#keys + 1] = key
    end
  end
  -- In portions: `unpack` puts them all on a small stack.
  for i = 1, #keys, 1000 do
    local portion = {}
    for j = i, math.min(i + 999, #keys) do portion[#portion + 1] = keys[j] end
    B.read_windows(portion)
  end
end

function B.window(key)
  if not B.windows[key] then B.read_windows({key}) end
  return B.windows[key]
end

function B.is_known(page) return #page.buckets > 0 or page.limit_tokens or page.limit_money end

-- Where what is reserved now is counted. A window goes on until its end, whatever a later step thinks of it.
function B.bucket_of(page, use)
  local last = page.buckets[#page.buckets]
  if last and (not use[3] or use[2] <= last[1]) then return last end
  last = {use[2], 0, 0, 0, 0, 0, 0, 0, 0, 0}
  page.buckets[#page.buckets + 1] = last
  B.changed_windows[page.key] = page
  return last
end

-- The page, and the bucket in which a part of a hold is counted; none where it has left its window.
function B.find(key, finish)
  local page = B.window(key)
  for _, bucket in ipairs(page.buckets) do
    if bucket[1] == finish then return page, bucket end
  end
end

-- Adds to what is held, spent or estimated, in a bucket and in its window.
function B.add(page, bucket, at, amount, sign)
  B.put(bucket, at, amount, sign)
  B.put(page.sum, at, amount, sign)
  B.changed_windows[page.key] = page
end

function B.write_windows()
  local kept, gone, ends = {}, {}, {}
  for key, page in pairs(B.changed_windows) do
    if B.is_known(page) then
      kept[#kept + 1] = key
      kept[#kept + 1] = cmsgpack.pack({page.limit_tokens, page.limit_money, page.buckets})
      local last = page.buckets[#page.buckets]
      if last and last[1] ~= page.kept_until then
        ends[#ends + 1] = B.exactly(last[1])
        ends[#ends + 1] = key
      elseif not last then
        redis.call('ZREM', K[3], key)
      end
    elseif page.kept then
      gone[#gone + 1] = key
    end
  end
  B.write('HSET', K[2], kept)
  B.write('HDEL', K[2], gone)
  B.write('ZADD', K[3], ends)
  B.write('ZREM', K[3], gone)
end

-- One command for many things, in portions: `unpack` puts them all on a small stack.
function B.write(command, key, words)
  for i = 1, #words, 1000 do redis.call(command, key, unpack(words, i, math.min(i + 999, #words))) end
end

-- Holds. A part is {amount, {key, finish, key, finish, ...}}: what was reserved at one time, and where it is counted.

function B.read_hold(id, kept)
  local read = cmsgpack.unpack(kept)
  local hold = {id = id, account = read[1], output = read[2], reserved_at = read[3], lease_ends = read[4],
    top_ups = read[5], lapsed = read[6], parts = read[7], kept = true}
  B.holds[id] = hold
  for _, part in ipairs(hold.parts) do B.need(part[2], 2) end
  return hold
end

function B.hold_of(id)
  local hold = B.holds[id]
  if hold == nil then
    local kept = redis.call('HGET', K[4], id)
    hold = kept and B.read_hold(id, kept) or false
    B.holds[id] = hold
  end
  return hold and not hold.over and hold
end

function B.drop(hold)
  hold.over = true
  B.changed_holds[hold.id] = hold
end

function B.amount_of(hold)
  local sum = hold.parts[1][1]
  for i = 2, #hold.parts do sum = B.plus(sum, hold.parts[i][1]) end
  return sum
end

function B.counts_until(hold)
  local latest = 0
  for _, part in ipairs(hold.parts) do
    local places = part[2]
    for i = 2, #places, 2 do latest = math.max(latest, places[i]) end
  end
  return latest
end

-- Calls f(part's amount, page, bucket) wherever the hold still counts.
function B.each_place(hold, f)
  for _, part in ipairs(hold.parts) do
    local places = part[2]
    for i = 1, #places, 2 do
      local page, bucket = B.find(places[i], places[i + 1])
      if bucket then f(part[1], page, bucket) end
    end
  end
end

-- Charges a hold in full: nobody knows what became of its call.
function B.lapse(hold)
  hold.lapsed = true
  B.each_place(hold, function(amount, page, bucket)
    B.add(page, bucket, HELD, amount, -1)
    B.add(page, bucket, SPENT, amount, 1)
    B.add(page, bucket, ESTIMATED, amount, 1)
  end)
  B.changed_holds[hold.id] = hold
end

-- Counts a lapsed hold as held again; what of its charge was taken away by hand is not taken away once more.
function B.revive(hold)
  hold.lapsed = false
  B.each_place(hold, function(amount, page, bucket)
    local back = B.at_most(amount, B.cut(bucket, ESTIMATED))
    B.add(page, bucket, HELD, amount, 1)
    B.add(page, bucket, SPENT, back, -1)
    B.add(page, bucket, ESTIMATED, back, -1)
  end)
  B.changed_holds[hold.id] = hold
end

function B.write_holds()
  local kept, gone, due = {}, {}, {}
  for id, hold in pairs(B.changed_holds) do
    if not hold.over then
      kept[#kept + 1] = id
      kept[#kept + 1] = cmsgpack.pack({hold.account, hold.output, hold.reserved_at, hold.lease_ends, hold.top_ups,
        hold.lapsed, hold.parts})
      due[#due + 1] = B.exactly(hold.lapsed and B.counts_until(hold) or hold.lease_ends)
      due[#due + 1] = id
    elseif hold.kept then
      gone[#gone + 1] = id
    end
  end
  B.write('HSET', K[4], kept)
  B.write('HDEL', K[4], gone)
  B.write('ZADD', K[5], due)
  B.write('ZREM', K[5], gone)
end

-- Settled ids, the journal and the history

function B.is_settled(id)
  if B.buried[id] then return true end
  local known_until = redis.call('ZSCORE', K[6], id)
  return known_until and tonumber(known_until) > now
end

function B.write_down(account, spent)
  local quarter = math.floor(now / QUARTER) * QUARTER
  for _, one in ipairs(spent) do
    local field = cmsgpack.pack({quarter, account, one[1], one[2]})
    local line = B.journal[field]
    if not line then
      local kept = redis.call('HGET', K[8], field)
      line = {quarter = quarter, kept = kept, sums = kept and cmsgpack.unpack(kept) or {0, 0, 0, 0, 0, 0, 0, 0, 0}}
      B.journal[field] = line
    end
    -- One more call; attempts and five kinds of tokens; USD and nano-USD.
    local sums = line.sums
    sums[1] = sums[1] + 1
    for i = 2, 9 do sums[i] = sums[i] + one[i + 1] end
    if sums[9] >= E9 then sums[8], sums[9] = sums[8] + 1, sums[9] - E9 end
  end
end

function B.write_records()
  local buried, sums, quarters, rows = {}, {}, {}, {}
  for id, known_until in pairs(B.buried) do
    buried[#buried + 1] = B.exactly(known_until)
    buried[#buried + 1] = id
  end
  for field, line in pairs(B.journal) do
    sums[#sums + 1] = field
    sums[#sums + 1] = cmsgpack.pack(line.sums)
    if not line.kept then
      quarters[#quarters + 1] = B.exactly(line.quarter)
      quarters[#quarters + 1] = field
    end
  end
  for i, row in ipairs(B.history) do rows[i] = cmsgpack.pack(row) end
  B.write('ZADD', K[6], buried)
  B.write('HSET', K[8], sums)
  B.write('ZADD', K[9], quarters)
  B.write('RPUSH', K[7], rows)
  if #rows > 0 then redis.call('LTRIM', K[7], -MOST_HISTORY, -1) end
end

-- Room. A use is {key, finish, rolling, limit tokens, limit money}: a window with the limits that count in it.

function B.is_over(uses)
  for _, use in ipairs(uses) do
    if use[2] <= now then return true end
  end
  return false
end

-- A limit that was set by hand goes before that of the step.
function B.limits(use, page) return page.limit_tokens or use[4], page.limit_money or use[5] end

-- How much of `need` is not free beside what is spent, and held unless `but_holds`; nil where it fits. Where more was
-- charged than there is, nothing fits.
function B.missing(use, page, need, sum, but_holds)
  local tokens, usd, nano = need[1] + sum[5], need[2] + sum[6], need[3] + sum[7]
  if not but_holds then tokens, usd, nano = tokens + sum[2], usd + sum[3], nano + sum[4] end
  local most, money = B.limits(use, page)
  local lack
  if most and tokens > most then lack = {tokens - most, 0, 0} end
  if money then
    local above = nano % E9
    usd, nano = usd + (nano - above) / E9, above
    if usd > money[1] or (usd == money[1] and nano > money[2]) then
      lack = B.minus({lack and lack[1] or 0, usd, nano}, {0, money[1], money[2]})
    end
  end
  return lack
end

-- When it would fit with every hold released, as one bucket after the other leaves the window.
function B.refills_at(use, page, need)
  local left = {0, 0, 0, 0, page.sum[5], page.sum[6], page.sum[7]}
  for _, bucket in ipairs(page.buckets) do
    B.put(left, SPENT, B.cut(bucket, SPENT), -1)
    if not B.missing(use, page, need, left, true) then return bucket[1] end
  end
  return false
end

-- Where there is no room: {key, limits, missing, missing with every hold released, refills at, frees at}; and whether
-- there would be none with every hold released.
function B.lacks_of(uses, need)
  local lacks, hopeless = {}, false
  for _, use in ipairs(uses) do
    local page = B.windows[use[1]]
    local lack = B.missing(use, page, need, page.sum, false)
    if lack then
      local tokens, money = B.limits(use, page)
      local of_spent = B.missing(use, page, need, page.sum, true) or false
      hopeless = hopeless or of_spent ~= false
      local refills = of_spent and B.refills_at(use, page, need)
      local first = page.buckets[1]
      lacks[#lacks + 1] = {use[1], tokens, money, lack, of_spent, refills, first and first[1] or false}
    end
  end
  return lacks, hopeless
end

-- Counts an amount as held in all windows; returns the places: {key, finish, key, finish, ...}.
function B.count(uses, amount)
  local places = {}
  for _, use in ipairs(uses) do
    local page = B.windows[use[1]]
    local bucket = B.bucket_of(page, use)
    B.add(page, bucket, HELD, amount, 1)
    places[#places + 1] = use[1]
    places[#places + 1] = bucket[1]
  end
  return places
end

-- Lines: {input tokens, input USD, input nano-USD, rate / 10^6, rate % 10^6, most output}, the rate in nano-USD per
-- million tokens. It comes in two parts because output * rate is more than a double holds.

-- Tokens, USD and nano-USD that a line costs at most at an output.
function B.at_output(line, output)
  local given = math.min(output, line[6])
  local fine = given * line[5]
  local rest = fine % E6
  local nano = given * line[4] + (fine - rest) / E6
  if rest > 0 then nano = nano + 1 end -- rounded up
  local above = nano % E9
  local usd = line[2] + (nano - above) / E9
  above = line[3] + above
  if above >= E9 then usd, above = usd + 1, above - E9 end
  return line[1] + given, usd, above
end

function B.dearest(lines, output)
  local most = {0, 0, 0}
  for _, line in ipairs(lines) do
    local tokens, usd, nano = B.at_output(line, output)
    if tokens > most[1] then most[1] = tokens end
    if usd > most[2] or (usd == most[2] and nano > most[3]) then most[2], most[3] = usd, nano end
  end
  return most
end

-- What is free in all windows together.
function B.room_of(uses)
  local room = {}
  for _, use in ipairs(uses) do
    local page = B.windows[use[1]]
    local tokens, money = B.limits(use, page)
    local used = B.plus(B.cut(page.sum, HELD), B.cut(page.sum, SPENT))
    if tokens then room.tokens = math.min(room.tokens or math.huge, tokens - used[1]) end
    if money then
      local free = B.minus({0, money[1], money[2]}, used)
      if not room.money or B.less_money(free, room.money) then room.money = free end
    end
  end
  return room
end

function B.fits(line, output, room)
  local tokens, usd, nano = B.at_output(line, output)
  if room.tokens and tokens > room.tokens then return false end
  local money = room.money
  return not money or usd < money[2] or (usd == money[2] and nano <= money[3])
end

-- The largest output from `least`, which fits, to `most` at which every line fits: halving, so that each figure on the
-- way is one that is compared exactly.
function B.most_output(lines, room, least, most)
  for _, line in ipairs(lines) do
    local top = math.min(most, line[6])
    if not B.fits(line, top, room) then
      local low, high = least, top
      while high - low > 1 do
        local middle = math.floor((low + high) / 2)
        if B.fits(line, middle, room) then low = middle else high = middle end
      end
      most = low
    end
  end
  return most
end

-- Steps. Answers: 1 held, 2 lacking, 3 charged, 4 known, 5 stale, 6 changed, 7 released.

local KNOWN, STALE = {4}, {5}

function B.first(use) return use[1] end

function B.held(hold) return {1, hold.output, B.amount_of(hold)} end

function B.remember(lease)
  if lease > tombstone and lease < math.huge then
    tombstone = lease
    B.tombstone_grew = true
  end
end

function B.reserve(step)
  local id, account, uses, lines, least, most, lease, waits = step[2], step[3], step[4], step[5], step[6], step[7],
    step[8], step[9]
  local known = B.hold_of(id)
  if known then return B.held(known) end
  if B.is_settled(id) then return KNOWN end
  if B.is_over(uses) then return STALE end
  B.need(uses, 1, B.first)
  local amount = B.dearest(lines, least)
  local lacks, hopeless = B.lacks_of(uses, amount)
  local behind = {}
  for _, use in ipairs(uses) do
    if B.barred[use[1]] then behind[#behind + 1] = use[1] end
  end
  if #lacks > 0 or #behind > 0 then
    if waits and not hopeless then
      for _, lack in ipairs(lacks) do B.barred[lack[1]] = true end
    end
    local shortest, would_fit = B.dearest(lines, math.min(least, 1)), true
    for _, use in ipairs(uses) do
      local page = B.windows[use[1]]
      if B.missing(use, page, shortest, page.sum, hopeless) then would_fit = false end
    end
    return {2, lacks, behind, would_fit}
  end
  local output = most
  if least < most then
    output = B.most_output(lines, B.room_of(uses), least, most)
    amount = B.dearest(lines, output)
  end
  local hold = {id = id, account = account, output = output, reserved_at = now, lease_ends = now + lease, top_ups = 0,
    lapsed = false, parts = {{amount, B.count(uses, amount)}}}
  -- One of this id may have ended in this very batch, and stand where this one is written.
  hold.kept = B.holds[id] and B.holds[id].kept
  B.remember(lease)
  B.holds[id], B.changed_holds[id] = hold, hold
  return B.held(hold)
end

function B.top_up(step)
  local id, number, uses, more = step[2], step[3], step[4], step[5]
  local hold = B.hold_of(id)
  if not hold then return KNOWN end
  if number <= hold.top_ups then return B.held(hold) end
  if B.is_over(uses) then return STALE end
  B.need(uses, 1, B.first)
  local lacks = B.lacks_of(uses, more)
  if #lacks > 0 then return {2, lacks, {}, false} end
  if hold.lapsed then B.revive(hold) end
  hold.top_ups = number
  local places, last = B.count(uses, more), hold.parts[#hold.parts]
  local alike = #places == #last[2]
  for i, place in ipairs(places) do alike = alike and place == last[2][i] end
  if alike then last[1] = B.plus(last[1], more) else hold.parts[#hold.parts + 1] = {more, places} end
  B.changed_holds[id] = hold
  return B.held(hold)
end

-- Each part takes what it held, in the window that it was held in; the last one all the rest.
function B.charge(hold, charged, estimated)
  local rest = charged
  for i, part in ipairs(hold.parts) do
    local share = i == #hold.parts and rest or B.at_most(rest, part[1])
    rest = B.minus(rest, share)
    local places = part[2]
    for j = 1, #places, 2 do
      local page, bucket = B.find(places[j], places[j + 1])
      if bucket then
        B.add(page, bucket, HELD, part[1], -1)
        B.add(page, bucket, SPENT, share, 1)
        if estimated then B.add(page, bucket, ESTIMATED, share, 1) end
      end
    end
  end
end

function B.settle(step)
  local id, charged, estimated, account, uses, spent = step[2], step[3], step[4], step[5], step[6], step[7]
  if B.is_settled(id) then return KNOWN end
  local hold = B.hold_of(id)
  if not hold and B.is_over(uses) then return STALE end
  B.buried[id] = now + tombstone
  if #spent > 0 then B.write_down(hold and hold.account or account, spent) end
  if hold then
    B.drop(hold)
    if hold.lapsed then B.revive(hold) end
  elseif #uses > 0 then
    B.need(uses, 1, B.first)
    local nothing = {0, 0, 0}
    hold = {parts = {{nothing, B.count(uses, nothing)}}}
  else
    return KNOWN
  end
  local turns, seen = {}, {}
  for _, part in ipairs(hold.parts) do
    for i = 1, #part[2], 2 do
      local page = B.window(part[2][i])
      if not seen[page.key] and #page.buckets > 0 then
        seen[page.key] = true
        turns[#turns + 1] = {page.key, B.cut(page.sum, SPENT), false, page.buckets[#page.buckets][1]}
      end
    end
  end
  B.charge(hold, charged, estimated)
  for _, turn in ipairs(turns) do turn[3] = B.cut(B.windows[turn[1]].sum, SPENT) end
  return {3, B.amount_of(hold), turns}
end

function B.renew(step)
  local ids, lease = step[2], step[3]
  B.remember(lease)
  for _, id in ipairs(ids) do
    local hold = B.hold_of(id)
    if hold then
      hold.lease_ends = now + lease
      if hold.lapsed then B.revive(hold) end
      B.changed_holds[id] = hold
    end
  end
  return KNOWN
end

function B.is_below(account, parent)
  return parent == '' or account == parent or account:sub(1, #parent + 1) == parent .. '/'
end

function B.adopt(step)
  local account, use = step[2], step[3]
  local page = B.window(use[1])
  if B.is_known(page) then return KNOWN end
  if B.is_over({use}) then return STALE end
  -- The names of windows are period:zone:account. Looking at them all is dear, and done when a limit is new.
  local pattern = '^([^:]*):[^:]*:(.*)$'
  local period, whose = use[1]:match(pattern)
  local names = redis.call('HKEYS', K[2])
  for key in pairs(B.changed_windows) do names[#names + 1] = key end
  local spent = {0, 0, 0}
  for _, key in ipairs(names) do
    local its_period, its_account = key:match(pattern)
    if key ~= use[1] and its_period == period and its_account == whose then
      spent = B.at_least(spent, B.cut(B.window(key).sum, SPENT))
    end
  end
  local bucket = B.bucket_of(page, use)
  B.add(page, bucket, SPENT, spent, 1)
  local kept = redis.call('HGETALL', K[4])
  for i = 1, #kept, 2 do
    if B.holds[kept[i]] == nil then B.read_hold(kept[i], kept[i + 1]) end
  end
  for id, hold in pairs(B.holds) do
    if hold and not hold.over and B.is_below(hold.account, account) then
      for _, part in ipairs(hold.parts) do
        local amount, places = part[1], part[2]
        places[#places + 1] = use[1]
        places[#places + 1] = bucket[1]
        B.add(page, bucket, hold.lapsed and SPENT or HELD, amount, 1)
        if hold.lapsed then B.add(page, bucket, ESTIMATED, amount, 1) end
      end
      B.changed_holds[id] = hold
    end
  end
  return KNOWN
end

function B.release(step)
  local id, reason = step[2], step[3]
  local hold = B.hold_of(id)
  if not hold then return KNOWN end
  local amount = B.amount_of(hold)
  if not hold.lapsed then
    hold.lease_ends = math.min(hold.lease_ends, now)
    B.lapse(hold)
  end
  B.history[#B.history + 1] = {now, 'release', hold.account, id, reason, {amount}}
  return {7, amount}
end

-- What is spent, and the limits that count.
function B.state(use, page)
  local tokens, money = B.limits(use, page)
  return {B.cut(page.sum, SPENT), tokens, money}
end

-- Corrects what is spent: the newest buckets first, so that no bucket goes below nothing.
function B.spend(page, use, wanted)
  local change, nothing = B.minus(wanted, B.cut(page.sum, SPENT)), {0, 0, 0}
  if change[1] == 0 and change[2] == 0 and change[3] == 0 then return end
  B.add(page, B.bucket_of(page, use), SPENT, B.at_least(change, nothing), 1)
  local less = B.minus(nothing, B.at_most(change, nothing))
  for i = #page.buckets, 1, -1 do
    local bucket = page.buckets[i]
    local share = B.at_most(B.cut(bucket, SPENT), less)
    B.add(page, bucket, SPENT, share, -1)
    -- An estimate is part of what is spent.
    local guessed = B.cut(bucket, ESTIMATED)
    B.add(page, bucket, ESTIMATED, B.minus(guessed, B.at_most(guessed, B.cut(bucket, SPENT))), -1)
    less = B.minus(less, share)
  end
end

function B.change(step)
  local account, use, reset, limit_tokens, limit_money = step[2], step[3], step[4], step[5], step[6]
  local spent_tokens, spent_money, reason = step[7], step[8], step[9]
  if B.is_over({use}) then return STALE end
  local page = B.window(use[1])
  local before, wanted = B.state(use, page), B.cut(page.sum, SPENT)
  if reset then
    page.limit_tokens, page.limit_money = false, false
    wanted = {0, 0, 0}
  end
  page.limit_tokens = limit_tokens or page.limit_tokens
  page.limit_money = limit_money or page.limit_money
  if spent_tokens then wanted[1] = spent_tokens end
  if spent_money then wanted[2], wanted[3] = spent_money[1], spent_money[2] end
  B.spend(page, use, wanted)
  B.changed_windows[page.key] = page
  local after = B.state(use, page)
  B.history[#B.history + 1] = {now, reset and 'reset' or 'set', account, use[1], reason, {before, after}}
  return {6, before, after}
end

-- Time

-- Holds whose lease has ended are charged; lapsed ones of which nothing counts any more are forgotten.
function B.end_leases()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', K[5], '-inf', B.exactly(now))) do
    local hold = B.hold_of(id)
    if hold then
      if not hold.lapsed then B.lapse(hold) end
      if B.counts_until(hold) <= now then B.drop(hold) end
    end
  end
end

-- What is over, in a portion, found before anything is written.
function B.find_old()
  local old = B.exactly(now)
  local windows = redis.call('ZRANGEBYSCORE', K[3], '-inf', old, 'LIMIT', 0, SWEPT)
  B.need(windows, 1)
  for _, key in ipairs(windows) do B.changed_windows[key] = B.windows[key] end
  B.old_ids = redis.call('ZRANGEBYSCORE', K[6], '-inf', old, 'LIMIT', 0, SWEPT)
  old = B.exactly(now - JOURNAL_KEPT)
  B.old_fields = redis.call('ZRANGEBYSCORE', K[9], '-inf', old, 'LIMIT', 0, SWEPT)
end

function B.forget_old()
  local ids = {}
  for _, id in ipairs(B.old_ids) do
    if not B.buried[id] then ids[#ids + 1] = id end
  end
  B.write('ZREM', K[6], ids)
  B.write('ZREM', K[9], B.old_fields)
  B.write('HDEL', K[8], B.old_fields)
end

-- Raises where a key is of a wrong type before the first is written. Most were read on the way; these are for what is
-- only written.
function B.check_types()
  if next(B.changed_windows) then redis.call('ZCARD', K[3]) end
  if next(B.journal) then redis.call('ZCARD', K[9]) end
  if #B.history > 0 then redis.call('LLEN', K[7]) end
end

local does = {B.reserve, B.top_up, B.settle, B.renew, B.adopt, B.release, B.change}

function B.run(keys, args)
  B.begin(keys)
  local meta = redis.call('HMGET', K[1], 'version', 'now', 'tombstone')
  if meta[1] and tonumber(meta[1]) ~= VERSION then return cmsgpack.pack({false, meta[1]}) end
  if args[2] ~= '' then
    now = tonumber(args[2])
  else
    local time = redis.call('TIME')
    now = tonumber(time[1]) + tonumber(time[2]) / E6
  end
  local before = tonumber(meta[2] or '0')
  -- A clock that goes back reopens nothing.
  now = math.max(now, before)
  tombstone = tonumber(meta[3] or '60')

  local sweeps = math.floor(now * SWEEPS) ~= math.floor(before * SWEEPS)
  if sweeps then B.find_old() end
  B.end_leases()
  local answers = {}
  for i, step in ipairs(cmsgpack.unpack(args[1])) do answers[i] = does[step[1]](step) end

  B.check_types()
  B.write_windows()
  B.write_holds()
  B.write_records()
  if sweeps then B.forget_old() end
  redis.call('HSET', K[1], 'now', B.exactly(now))
  if not meta[1] or B.tombstone_grew then
    redis.call('HSET', K[1], 'version', VERSION, 'tombstone', B.exactly(tombstone))
  end
  return cmsgpack.pack({now, answers})
end

redis.register_function('penstock_ledger', B.run)
