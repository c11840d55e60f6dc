internal import CLibrdkafka

/// The headers of a message to produce, kept in one buffer.
///
/// Made to be used again: after `removeAll` the buffer keeps its memory, so that a message costs no
/// allocation here.
package struct KafkaHeaders: ~Copyable {
    private var bytes: [UInt8] = []
    private var entries: [sluice_kafka_header] = []

    /// No headers.
    package init() {}

    /// How many headers there are.
    package var count: Int { entries.count }

    /// Removes every header and keeps the memory.
    package mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
        entries.removeAll(keepingCapacity: true)
    }

    /// Removes the headers after the first ones, and keeps the memory.
    package mutating func keepFirst(_ count: Int) {
        guard count < entries.count else { return }
        bytes.removeSubrange(Int(entries[count].name)..<bytes.count)
        entries.removeSubrange(count..<entries.count)
    }

    /// Adds a header with a number in decimal that `replace` can change.
    package mutating func append(_ name: StaticString, replaceable number: UInt64) {
        let start = begin(name)
        let room = start + name.utf8CodeUnitCount + 1 + Self.digitsMax
        while bytes.count < room { bytes.append(0) }
        end(name, start)
        replace(at: entries.count - 1, with: number)
    }

    /// Changes a number that was added to be replaced.
    package mutating func replace(at index: Int, with number: UInt64) {
        var count = 1
        var limit: UInt64 = 10
        while count < Self.digitsMax, number >= limit {
            count += 1
            limit &*= 10  // beyond the largest number it is not looked at
        }
        let first = Int(entries[index].value)
        var rest = number
        var at = first + count
        while at > first {
            at -= 1
            bytes[at] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        }
        entries[index].value_length = UInt32(count)
    }

    /// Digits of the largest number.
    private static let digitsMax = 20

    /// Adds a header with bytes.
    package mutating func append(_ name: StaticString, _ value: Span<UInt8>) {
        let start = begin(name)
        unsafe value.withUnsafeBufferPointer { unsafe bytes.append(contentsOf: $0) }
        end(name, start)
    }

    /// Adds a header with text.
    package mutating func append(_ name: StaticString, text: String) {
        let start = begin(name)
        bytes.append(contentsOf: text.utf8)
        end(name, start)
    }

    /// Adds a header with a number in decimal.
    package mutating func append(_ name: StaticString, decimal: UInt64) {
        append(name, replaceable: decimal)
    }

    /// Stores the name with its NUL, and says where.
    private mutating func begin(_ name: StaticString) -> Int {
        let start = bytes.count
        name.withUTF8Buffer { unsafe bytes.append(contentsOf: $0) }
        bytes.append(0)
        return start
    }

    /// Notes the header whose value ends here.
    private mutating func end(_ name: StaticString, _ start: Int) {
        let value = start + name.utf8CodeUnitCount + 1
        entries.append(
            sluice_kafka_header(
                name: UInt32(start),
                name_length: UInt32(name.utf8CodeUnitCount),
                value: UInt32(value),
                value_length: UInt32(bytes.count - value)
            )
        )
    }

    /// Lends both buffers; the pointers must not outlive `body`.
    @inline(always)
    borrowing func withBuffers<T>(
        _ body: (UnsafeBufferPointer<UInt8>, UnsafeBufferPointer<sluice_kafka_header>) -> T
    ) -> T {
        unsafe bytes.withUnsafeBufferPointer { bytes in
            unsafe entries.withUnsafeBufferPointer { entries in unsafe body(bytes, entries) }
        }
    }
}
