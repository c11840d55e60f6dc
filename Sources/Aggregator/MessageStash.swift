/// Messages put aside, in the order in which they came, until the database has answered.
struct MessageStash {
    private struct Entry {
        var message: ConsumedMessage
        var epoch: UInt32
        var keyEnd: Int
        var valueEnd: Int
    }

    private var entries: [Entry] = []
    private var bytes: [UInt8] = []
    private var nextEntry = 0

    /// Whether there are none.
    var isEmpty: Bool { nextEntry == entries.count }

    /// Adds a message, copied.
    mutating func append(
        _ message: ConsumedMessage,
        _ key: Span<UInt8>,
        _ value: Span<UInt8>,
        epoch: UInt32
    ) {
        bytes.append(addingCapacity: key.count + value.count) { output in
            for index in key.indices { output.append(key[index]) }
            for index in value.indices { output.append(value[index]) }
        }
        let keyEnd = bytes.count - value.count
        entries.append(
            Entry(message: message, epoch: epoch, keyEnd: keyEnd, valueEnd: bytes.count)
        )
    }

    /// Lends the oldest message; false when there is none.
    func withFirst(
        _ body: (ConsumedMessage, Span<UInt8>, Span<UInt8>, _ epoch: UInt32) -> Void
    ) -> Bool {
        guard nextEntry < entries.count else { return false }
        let entry = entries[nextEntry]
        let start = nextEntry == 0 ? 0 : entries[nextEntry - 1].valueEnd
        let all = bytes.span
        body(
            entry.message,
            all.extracting(start..<entry.keyEnd),
            all.extracting(entry.keyEnd..<entry.valueEnd),
            entry.epoch
        )
        return true
    }

    /// Drops the oldest message.
    mutating func removeFirst() {
        nextEntry += 1
        if isEmpty { removeAll() }
    }

    /// Drops everything; memory is given back when it is much.
    mutating func removeAll() {
        entries.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: bytes.count <= 1 << 20)
        nextEntry = 0
    }
}
