import CLibpq

/// Encodes rows in the binary COPY format and hands them to the server in large pieces.
///
/// Per row: `row(columns:)`, then exactly that many values in the order of the columns. The types
/// must be the columns' own: the server converts nothing. Memory is one buffer that grows to the
/// longest row beyond 64 KiB.
@safe
package struct CopyWriter: ~Copyable {
    /// Bytes gathered before they are handed to libpq; chosen: large enough that a call costs
    /// nothing per row, small enough to stay in the second-level cache.
    static let flushBytes = 64 * 1024

    /// The connection that is in COPY state; nil discards what is written (for measuring).
    private let connection: PostgresConnection?
    private var buffer: UnsafeMutableRawBufferPointer
    private var count = 0
    private var fieldsLeft = 0
    /// Rows begun so far.
    package private(set) var rowCount = 0

    /// Starts the stream with the format's header: signature, flags, no extension.
    init(connection: PostgresConnection?) {
        self.connection = connection
        unsafe buffer = .allocate(byteCount: 2 * Self.flushBytes, alignment: 16)
        let signature: [UInt8] = [
            0x50, 0x47, 0x43, 0x4F, 0x50, 0x59, 0x0A, 0xFF, 0x0D, 0x0A, 0x00,
        ]
        for byte in signature { store(byte) }
        store(UInt32(0))
        store(UInt32(0))
    }

    /// A writer whose rows go nowhere, to measure and test the encoding.
    package static func discarding() -> CopyWriter { CopyWriter(connection: nil) }

    deinit { unsafe buffer.deallocate() }

    /// Begins a row of `columns` values; the row before must be complete.
    ///
    /// Throws what the server said when a full buffer could not be sent.
    @inlinable
    package mutating func row(columns: Int) throws(PostgresError) {
        try beginRow(columns)
    }

    @usableFromInline
    mutating func beginRow(_ columns: Int) throws(PostgresError) {
        precondition(fieldsLeft == 0, "row \(rowCount) lacks \(fieldsLeft) values")
        if count >= Self.flushBytes { try flush() }
        ensure(2)
        store(UInt16(columns))
        fieldsLeft = columns
        rowCount += 1
    }

    /// NULL of any type.
    package mutating func null() {
        beginField(4)
        store(UInt32.max)
    }

    /// A `bool`.
    package mutating func bool(_ flag: Bool) {
        beginField(5)
        store(UInt32(1))
        store(UInt8(flag ? 1 : 0))
    }

    /// An `int2`.
    package mutating func int16(_ number: Int16) {
        beginField(6)
        store(UInt32(2))
        store(UInt16(bitPattern: number))
    }

    /// An `int4`.
    package mutating func int32(_ number: Int32) {
        beginField(8)
        store(UInt32(4))
        store(UInt32(bitPattern: number))
    }

    /// An `int8`.
    package mutating func int64(_ number: Int64) {
        beginField(12)
        store(UInt32(8))
        store(UInt64(bitPattern: number))
    }

    /// Several columns of type `int4`.
    package mutating func int32s(_ numbers: Span<Int32>) {
        beginFields(numbers.count, 8 * numbers.count)
        for index in numbers.indices {
            store(UInt32(4))
            store(UInt32(bitPattern: numbers[index]))
        }
    }

    /// Several columns of type `int8`.
    package mutating func int64s(_ numbers: Span<Int64>) {
        beginFields(numbers.count, 12 * numbers.count)
        for index in numbers.indices {
            store(UInt32(8))
            store(UInt64(bitPattern: numbers[index]))
        }
    }

    /// A `float8`.
    package mutating func double(_ number: Double) {
        beginField(12)
        store(UInt32(8))
        store(number.bitPattern)
    }

    /// A `timestamptz`, in microseconds since 1970 UTC.
    package mutating func timestamp(_ microseconds: Int64) {
        beginField(12)
        store(UInt32(8))
        store(UInt64(bitPattern: PostgresTimestamp.fromUnix(microseconds)))
    }

    /// A `uuid`, as two big-endian halves.
    package mutating func uuid(high: UInt64, low: UInt64) {
        beginField(20)
        store(UInt32(16))
        store(high)
        store(low)
    }

    /// A `bytea`, or any other type in its binary form.
    package mutating func bytes(_ content: RawSpan) {
        beginField(4 + content.byteCount)
        store(UInt32(content.byteCount))
        unsafe content.withUnsafeBytes { unsafe append($0) }
    }

    /// A `bytea`, or any other type in its binary form.
    package mutating func bytes(_ content: Span<UInt8>) { unsafe bytes(content.bytes) }

    /// A `bytea`, or any other type in its binary form.
    package mutating func bytes(_ content: [UInt8]) { unsafe bytes(content.span.bytes) }

    /// A `text`; U+0000 becomes U+FFFD, because PostgreSQL cannot store it.
    package mutating func text(_ content: String) {
        var content = content
        content.makeContiguousUTF8()
        text(content.utf8.span)
    }

    /// A `text` from bytes that need not be valid: what is not UTF-8, and U+0000, becomes U+FFFD,
    /// so that one hostile byte does not reject the whole COPY.
    package mutating func text(_ content: Span<UInt8>) {
        if TextRepair.isStorable(content) {
            unsafe bytes(content.bytes)
        } else {
            bytes(TextRepair.repaired(content))
        }
    }

    /// Sends what is left and the trailer; the writer may not be used afterwards.
    mutating func finish() throws(PostgresError) {
        precondition(fieldsLeft == 0, "row \(rowCount) lacks \(fieldsLeft) values")
        ensure(2)
        store(UInt16.max)
        try flush()
    }

    private mutating func flush() throws(PostgresError) {
        defer { count = 0 }
        guard let connection else { return }
        try unsafe connection.putCopyData(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    }

    @inline(always)
    private mutating func beginField(_ byteCount: Int) { beginFields(1, byteCount) }

    @inline(always)
    private mutating func beginFields(_ fieldCount: Int, _ byteCount: Int) {
        precondition(fieldsLeft >= fieldCount, "row \(rowCount) has more values than columns")
        fieldsLeft -= fieldCount
        ensure(byteCount)
    }

    @inline(always)
    private mutating func ensure(_ byteCount: Int) {
        if unsafe buffer.count - count < byteCount { grow(byteCount) }
    }

    private mutating func grow(_ byteCount: Int) {
        precondition(byteCount <= Int(Int32.max), "a value of \(byteCount) bytes is too long")
        let larger = unsafe UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(2 * buffer.count, count + byteCount),
            alignment: 16
        )
        unsafe larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        unsafe buffer.deallocate()
        unsafe buffer = larger
    }

    /// Stores one number big-endian; the caller has ensured the room.
    @inline(always)
    private mutating func store<Number: FixedWidthInteger & BitwiseCopyable>(_ number: Number) {
        let size = MemoryLayout<Number>.size
        precondition(unsafe buffer.count - count >= size)
        unsafe buffer.storeBytes(of: number.bigEndian, toByteOffset: count, as: Number.self)
        count += size
    }

    @inline(always)
    private mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 0 else { return }
        precondition(unsafe buffer.count - count >= bytes.count)
        unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[count..<count + bytes.count])
            .copyMemory(from: bytes)
        count += bytes.count
    }
}
