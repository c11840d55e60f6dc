import Records

/// Reads one-dimensional arrays in PostgreSQL's binary form (`array_send`), big-endian:
///
///     offset  size  content
///     0       4     number of dimensions: 0 or 1
///     4       4     1 if an element is NULL
///     8       4     type of the elements
///     12      4     number of elements, if there is a dimension
///     16      4     lower bound
///     20      …     per element: length (4, −1 for NULL) and bytes
enum ArrayElements {
    /// Calls `body` with the bytes of every element that is not NULL; none for no bytes at all.
    static func forEach<E: Error>(
        _ bytes: RawSpan,
        _ body: (Span<UInt8>) throws(E) -> Void
    ) throws(E) {
        guard bytes.byteCount >= 20, number(bytes, 0) == 1 else { return }
        var at = 20
        for _ in 0..<number(bytes, 12) {
            guard at + 4 <= bytes.byteCount else { return }
            let length = number(bytes, at)
            at += 4
            if length < 0 { continue }
            guard at + length <= bytes.byteCount else { return }
            try body(bytes.extracting(at..<(at + length)).octets)
            at += length
        }
    }

    /// The integer of an `int4` element.
    static func int4(_ element: Span<UInt8>) -> Int64 {
        guard element.count == 4 else { return 0 }
        var number: UInt32 = 0
        for index in 0..<4 { number = number << 8 | UInt32(element[index]) }
        return Int64(Int32(bitPattern: number))
    }

    /// The integer of an `int8` element that is not negative.
    static func int8(_ element: Span<UInt8>) -> UInt64 {
        guard element.count == 8 else { return 0 }
        var number: UInt64 = 0
        for index in 0..<8 { number = number << 8 | UInt64(element[index]) }
        return number
    }

    private static func number(_ bytes: RawSpan, _ offset: Int) -> Int {
        Int(int4(bytes.extracting(offset..<(offset + 4)).octets))
    }
}
