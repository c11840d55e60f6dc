import Records

/// What one record adds to a row.
struct Sample {
    /// Event time in microseconds since the epoch.
    let time: Int64
    /// 1 when the record is an error with a status of 400 to 499.
    let clientErrors: Int64
    /// 1 when the record is another error.
    let serverErrors: Int64
    /// 1 when the client broke off.
    let aborted: Int64
    /// Bytes received from the client.
    let bytesIn: Int64
    /// Bytes sent to the client.
    let bytesOut: Int64
    /// Total duration; −1 when not known.
    let latency: Int64
    /// Upstream duration; −1 when not known.
    let upstream: Int64
    /// Register and rank of the client's address; 0 when not known.
    let client: UInt32
    /// Register and rank of the key; 0 when there is none.
    let key: UInt32

    /// Reads the measures of a record (the rules of errors are those of the query API).
    @inline(__always)
    init(_ record: RecordView, _ octets: Span<UInt8>) {
        time = record.completedAt
        let error = record.errorKind
        clientErrors = error == .client ? 1 : 0
        serverErrors = error == .server ? 1 : 0
        aborted = record.outcome == .clientAborted ? 1 : 0
        bytesIn = Int64(clamping: record.requestBytes)
        bytesOut = Int64(clamping: record.responseBytes)
        latency = record.durationUS.map { Int64(clamping: $0) } ?? -1
        upstream = record.upstreamDurationUS.map { Int64(clamping: $0) } ?? -1
        client = Self.packed(octets, record.clientIP)
        key = Self.packed(octets, record.keyID)
    }

    /// The status if it is one of three digits, else 0 for absent.
    @inline(__always)
    static func status(of record: RecordView) -> UInt32 { record.knownStatus }

    /// Register × 64 + rank of the hash of some bytes; 0 for none.
    @inline(__always)
    private static func packed(_ octets: Span<UInt8>, _ range: ByteRange) -> UInt32 {
        guard !range.isEmpty else { return 0 }
        let hash = StableHash.hash(octets.extracting(range.range))
        return UInt32(truncatingIfNeeded: DistinctSketch.register(of: hash)) << 6
            | UInt32(DistinctSketch.rank(of: hash))
    }
}

/// The rows of one rollup: open addressing over (bucket, value ids), measures side by side.
struct RowTable: Sendable {
    /// The rollup.
    let definition: RollupDefinition
    /// The dimensions as indices into the current values.
    private let places: [Int]
    /// The bucket length.
    private let tier: Tier
    /// High half: upper half of the hash; low half: row + 1; 0 is a free place.
    private var slots: [UInt64] = [UInt64](repeating: 0, count: 256)
    /// The keys of all rows, one after the other, in one place for the processor's cache: the low
    /// and the high half of the bucket, then the value ids.
    private var keys: [UInt32] = []
    /// The numbers per key.
    private let width: Int
    /// The integer measures of each row.
    private var counts: [Counts] = []
    /// Total durations: row in the high half, bucket index in the low half.
    private var latencies: [UInt64] = []
    /// Upstream durations: row in the high half, bucket index in the low half.
    private var upstreams: [UInt64] = []
    /// Clients: row in the high half, register × 64 + rank in the low half.
    private var clients: [UInt64] = []
    /// Credential keys: row in the high half, register × 64 + rank in the low half.
    private var credentials: [UInt64] = []

    /// Makes an empty table; `places` are those of its dimensions among the current values.
    init(_ definition: RollupDefinition, places: [Int]) {
        self.definition = definition
        self.places = places
        width = places.count + 2
        tier = definition.finestTier
    }

    /// How many rows there are.
    var rowCount: Int { counts.count }

    /// The memory in use, in bytes.
    var byteCount: Int {
        slots.count * 8 + keys.count * 4 + counts.count * MemoryLayout<Counts>.stride
            + (latencies.count + upstreams.count + clients.count + credentials.count) * 8
    }

    /// Forgets all rows and keeps the capacity.
    mutating func removeAll() {
        for index in slots.indices { slots[index] = 0 }
        keys.removeAll(keepingCapacity: true)
        counts.removeAll(keepingCapacity: true)
        latencies.removeAll(keepingCapacity: true)
        upstreams.removeAll(keepingCapacity: true)
        clients.removeAll(keepingCapacity: true)
        credentials.removeAll(keepingCapacity: true)
    }

    /// Where the search for a row begins.
    struct Probe {
        var bucket: Int64 = 0
        var hash: UInt64 = 0
        /// What is in the first place of the hash.
        var slot: UInt64 = 0
    }

    /// Begins to look for the row of the current values: asked of all tables before anything is
    /// added to any, it lets the processor wait for their memory at the same time.
    @inline(__always)
    func probe(_ time: Int64, _ current: [UInt32]) -> Probe {
        let bucket = tier.bucket(of: time)
        let hash = hash(bucket, current)
        let slot = slots[Int(truncatingIfNeeded: hash) & (slots.count - 1)]
        return Probe(bucket: bucket, hash: hash, slot: slot)
    }

    /// Adds a sample to the row of the current values.
    @inline(__always)
    mutating func add(_ sample: Sample, _ current: [UInt32], _ probe: Probe) {
        let row = row(of: probe, current)
        addCounts(sample, row)
        let high = UInt64(row) << 32
        if sample.latency >= 0 {
            latencies.append(high | UInt64(LatencyHistogram.index(of: UInt64(sample.latency))))
        }
        if sample.upstream >= 0 {
            upstreams.append(high | UInt64(LatencyHistogram.index(of: UInt64(sample.upstream))))
        }
        if sample.client != 0 { clients.append(high | UInt64(sample.client)) }
        if sample.key != 0, definition.countsKeys { credentials.append(high | UInt64(sample.key)) }
    }

    /// Adds the rows of a wider rollup: the same as if its records had been added here.
    ///
    /// - Parameters:
    ///   - wide: Rows with all of this table's dimensions, in buckets as short or shorter.
    ///   - dimensionCount: How many dimensions there are among the current values.
    mutating func add(_ wide: RowTable, dimensionCount: Int) {
        var current = [UInt32](repeating: 0, count: dimensionCount)
        var rows: [UInt64] = []
        rows.reserveCapacity(wide.rowCount)
        for row in wide.counts.indices {
            var key = row * wide.width + 2
            for place in wide.places {
                current[place] = wide.keys[key]
                key += 1
            }
            let own = self.row(of: probe(wide.bucket(of: row), current), current)
            counts[own].merge(wide.counts[row])
            rows.append(UInt64(own) << 32)
        }
        func append(_ samples: [UInt64], to own: inout [UInt64]) {
            own.reserveCapacity(own.count + samples.count)
            for sample in samples { own.append(rows[Int(sample >> 32)] | sample & 0xFFFF_FFFF) }
        }
        append(wide.latencies, to: &latencies)
        append(wide.upstreams, to: &upstreams)
        append(wide.clients, to: &clients)
        if definition.countsKeys { append(wide.credentials, to: &credentials) }
    }

    /// Adds the integer measures.
    @inline(__always)
    private mutating func addCounts(_ sample: Sample, _ row: Int) {
        var sum = counts[row]
        sum.requests &+= 1  // one per record in memory
        sum.clientErrors &+= sample.clientErrors
        sum.serverErrors &+= sample.serverErrors
        sum.aborted &+= sample.aborted
        sum.bytesIn = sum.bytesIn.addingSaturated(sample.bytesIn)
        sum.bytesOut = sum.bytesOut.addingSaturated(sample.bytesOut)
        if sample.latency >= 0 { sum.latency.add(sample.latency) }
        if sample.upstream >= 0 { sum.upstream.add(sample.upstream) }
        counts[row] = sum
    }

    /// The row of a bucket and the current values, a new one if there is none.
    @inline(__always)
    private mutating func row(of probe: Probe, _ current: [UInt32]) -> Int {
        let mask = slots.count - 1
        var place = Int(truncatingIfNeeded: probe.hash) & mask
        var slot = probe.slot
        while true {
            if slot == 0 { return insert(probe.bucket, current, probe.hash) }
            if slot >> 32 == probe.hash >> 32 {
                let row = Int(UInt32(truncatingIfNeeded: slot)) - 1
                if isEqual(row, probe.bucket, current) { return row }
            }
            place = (place &+ 1) & mask
            slot = slots[place]
        }
    }

    /// The hash of a key.
    @inline(__always)
    private func hash(_ bucket: Int64, _ current: [UInt32]) -> UInt64 {
        var state = UInt64(bitPattern: bucket) ^ StableHash.k2
        for place in places {
            state = StableHash.mix(state ^ StableHash.k0, UInt64(current[place]) ^ StableHash.k1)
        }
        return state
    }

    /// Whether a row has a key.
    @inline(__always)
    private func isEqual(_ row: Int, _ bucket: Int64, _ current: [UInt32]) -> Bool {
        var index = row * width
        guard keys[index] == UInt32(truncatingIfNeeded: bucket),
            keys[index + 1] == UInt32(truncatingIfNeeded: bucket >> 32)
        else { return false }
        index += 2
        for place in places {
            if keys[index] != current[place] { return false }
            index += 1
        }
        return true
    }

    /// Adds a row that is not there.
    @inline(never)
    private mutating func insert(_ bucket: Int64, _ current: [UInt32], _ hash: UInt64) -> Int {
        if (counts.count + 1) * 2 > slots.count { grow() }
        let row = counts.count
        keys.append(UInt32(truncatingIfNeeded: bucket))
        keys.append(UInt32(truncatingIfNeeded: bucket >> 32))
        for place in places { keys.append(current[place]) }
        counts.append(Counts())
        place(hash, row)
        return row
    }

    /// Puts a row into the first free place of its hash.
    private mutating func place(_ hash: UInt64, _ row: Int) {
        let mask = slots.count - 1
        var place = Int(truncatingIfNeeded: hash) & mask
        while slots[place] != 0 { place = (place &+ 1) & mask }
        slots[place] = hash & ~0xFFFF_FFFF | UInt64(row + 1)
    }

    /// Doubles the places.
    private mutating func grow() {
        slots = [UInt64](repeating: 0, count: slots.count * 2)
        var current = [UInt32](repeating: 0, count: (places.max() ?? 0) + 1)
        for row in counts.indices {
            for (index, place) in places.enumerated() {
                current[place] = keys[row * width + 2 + index]
            }
            place(hash(bucket(of: row), current), row)
        }
    }

    /// The bucket of a row.
    private func bucket(of row: Int) -> Int64 {
        let halves = UInt64(keys[row * width + 1]) << 32 | UInt64(keys[row * width])
        return Int64(bitPattern: halves)
    }

    /// Calls the body with every row.
    ///
    /// - Parameters:
    ///   - values: The values of the batch.
    ///   - order: The rows in the order that is wanted; nil as they first came.
    ///   - body: Gets the rows.
    func forEachRow<E: Error>(
        _ values: [ValueTable],
        order: [RowOrder]?,
        _ body: (borrowing FoldedRow) throws(E) -> Void
    ) throws(E) {
        // Samples that lie in the order of the rows are waited for least.
        var places = counts.indices.map { UInt32($0) }
        for (place, entry) in (order ?? []).enumerated() {
            places[Int(entry.row)] = UInt32(place)
        }
        let latencies = GroupedSamples(self.latencies, places)
        let upstreams = GroupedSamples(self.upstreams, places)
        let clients = GroupedSamples(self.clients, places)
        let credentials = GroupedSamples(self.credentials, places)
        let shared = FoldedRow.Shared(definition, values, places: self.places)
        var encoder = RowEncoder()
        var output: [UInt8] = []
        for place in counts.indices {
            let row = order.map { Int($0[place].row) } ?? place
            output.removeAll(keepingCapacity: true)
            encoder.histogram(latencies, place, into: &output)
            let first = output.count
            encoder.histogram(upstreams, place, into: &output)
            let second = output.count
            encoder.sketch(clients, place, into: &output)
            let third = output.count
            encoder.sketch(credentials, place, into: &output)
            let folded = FoldedRow(
                shared,
                bucket: bucket(of: row),
                counts: counts[row],
                valueIDs: keys.span.extracting((row * width + 2)..<((row + 1) * width)),
                latency: output.span.extracting(0..<first),
                upstream: output.span.extracting(first..<second),
                clients: output.span.extracting(second..<third),
                keys: output.span.extracting(third..<output.count)
            )
            try body(folded)
        }
    }
}

/// A row and its key as one number.
struct RowOrder {
    /// The key.
    let key: UInt64
    /// The row.
    let row: UInt32
}

extension RowTable {
    /// The rows ascending by bucket and ids of values; nil if the keys do not fit into a number.
    ///
    /// - Parameter ids: What each value of each text dimension is replaced by, by its place.
    func order(by ids: [[Int32]]) -> [RowOrder]? {
        guard rowCount > 0 else { return nil }
        var (lowest, highest) = (Int64.max, Int64.min)
        for row in 0..<rowCount {
            lowest = min(lowest, bucket(of: row))
            highest = max(highest, bucket(of: row))
        }
        var keys = [UInt64](repeating: 0, count: rowCount)
        for row in 0..<rowCount {
            keys[row] = UInt64((bucket(of: row) &- lowest) / tier.microseconds)
        }
        var bits = 64 - UInt64((highest &- lowest) / tier.microseconds).leadingZeroBitCount
        for (index, place) in places.enumerated() {
            let known: [Int32]? = definition.dimensions[index].isInteger ? nil : ids[place]
            var numbers = [UInt32](repeating: 0, count: rowCount)
            var largest: UInt32 = 0
            for row in 0..<rowCount {
                let value = self.keys[row * width + 2 + index]
                let number = known.map { value == 0 ? 0 : $0[Int(value)] }
                numbers[row] = number.map { UInt32(bitPattern: $0) } ?? value
                largest = max(largest, numbers[row])
            }
            let more = 32 - largest.leadingZeroBitCount
            bits += more
            // Negative numbers would be in another order.
            guard bits <= 64, largest <= UInt32(Int32.max) else { return nil }
            for row in 0..<rowCount { keys[row] = keys[row] << more | UInt64(numbers[row]) }
        }
        var order = keys.indices.map { RowOrder(key: keys[$0], row: UInt32($0)) }
        order.sort { $0.key < $1.key }
        return order
    }
}
