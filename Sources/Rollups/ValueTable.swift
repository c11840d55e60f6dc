import Records

/// The distinct values of one dimension: bytes to small dense ids, by open addressing.
struct ValueTable: Sendable {
    /// High half: upper half of the hash; low half: id; 0 is a free place.
    private var slots: [UInt64] = [UInt64](repeating: 0, count: 64)
    /// The bytes of all values, one after the other.
    private var arena: [UInt8] = []
    /// Where each value ends in the arena; value `id` starts where `id − 1` ends.
    private var ends: [UInt32] = [0]

    /// How many ids there are, 0 (absent) included.
    var count: Int { ends.count }

    /// The memory in use, in bytes.
    var byteCount: Int { slots.capacity * 8 + arena.capacity + ends.capacity * 4 }

    /// Forgets all values and keeps the capacity.
    mutating func removeAll() {
        guard ends.count > 1 else { return }
        for index in slots.indices { slots[index] = 0 }
        arena.removeAll(keepingCapacity: true)
        ends.removeAll(keepingCapacity: true)
        ends.append(0)
    }

    /// The bytes of an id.
    func value(_ id: UInt32) -> ArraySlice<UInt8> {
        guard id > 0 else { return [] }
        return arena[Int(ends[Int(id) - 1])..<Int(ends[Int(id)])]
    }

    /// The id of a value, a new one if it has not been seen.
    @inline(__always)
    mutating func id(of value: Span<UInt8>) -> UInt32 {
        id(of: value, hash: StableHash.hash(value))
    }

    /// The id of a value whose hash is known.
    @inline(__always)
    mutating func id(of value: Span<UInt8>, hash: UInt64) -> UInt32 {
        let mask = slots.count - 1
        var place = Int(truncatingIfNeeded: hash) & mask
        while true {
            let slot = slots[place]
            if slot == 0 { return insert(value, hash) }
            if slot >> 32 == hash >> 32 {
                let id = UInt32(truncatingIfNeeded: slot)
                if isEqual(id, value) { return id }
            }
            place = (place &+ 1) & mask
        }
    }

    /// Whether an id has these bytes.
    @inline(__always)
    private func isEqual(_ id: UInt32, _ value: Span<UInt8>) -> Bool {
        let start = Int(ends[Int(id) - 1])
        let count = Int(ends[Int(id)]) - start
        guard count == value.count else { return false }
        return arena.span.extracting(start..<(start + count)).hasSameBytes(as: value)
    }

    /// Adds a value that is not there.
    @inline(never)
    private mutating func insert(_ value: Span<UInt8>, _ hash: UInt64) -> UInt32 {
        if ends.count * 2 > slots.count { grow() }
        let id = UInt32(ends.count)
        arena.append(addingCapacity: value.count) { output in
            for index in value.indices { output.append(value[index]) }
        }
        ends.append(UInt32(arena.count))
        place(hash, id)
        return id
    }

    /// Puts an id into the first free place of its hash.
    private mutating func place(_ hash: UInt64, _ id: UInt32) {
        let mask = slots.count - 1
        var place = Int(truncatingIfNeeded: hash) & mask
        while slots[place] != 0 { place = (place &+ 1) & mask }
        slots[place] = hash & ~0xFFFF_FFFF | UInt64(id)
    }

    /// Doubles the places.
    private mutating func grow() {
        slots = [UInt64](repeating: 0, count: slots.count * 2)
        for id in 1..<UInt32(ends.count) {
            let range = Int(ends[Int(id) - 1])..<Int(ends[Int(id)])
            let hash = StableHash.hash(arena.span.extracting(range))
            place(hash, id)
        }
    }
}

extension Span<UInt8> {
    /// Whether two spans of equal length hold the same bytes.
    @inline(__always)
    func hasSameBytes(as other: Span<UInt8>) -> Bool {
        guard count >= 8 else { return lastWord(count) == other.lastWord(count) }
        var index = 0
        while index + 8 < count {
            if word(at: index) != other.word(at: index) { return false }
            index += 8
        }
        return word(at: count - 8) == other.word(at: count - 8)
    }
}
