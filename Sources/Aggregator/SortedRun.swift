import Postgres
import Records
import Rollups

/// Rows of one partition in the order of their keys, stored in a table of blocks: what a rebuild
/// that does not fit into one transaction writes until all rows are there, and merges then.
///
/// A block costs the server what its bytes cost, and not what each of its columns would.
enum SortedRun {
    /// The statements that make the table.
    static func creation(of name: String) -> String {
        // The bytes are packed already.
        """
        CREATE TABLE \(name) (place integer NOT NULL, bucket timestamptz NOT NULL, rows bytea);
        ALTER TABLE \(name) ALTER COLUMN rows SET STORAGE EXTERNAL
        """
    }

    /// The `COPY` that fills it, in the transaction that has made it.
    static func copy(into name: String) -> String {
        "COPY \(name) (place, bucket, rows) FROM STDIN (FORMAT binary, FREEZE)"
    }
}

/// Writes rows that ascend as the blocks of a run.
struct SortedRunWriter {
    /// Bytes of a block. Chosen: some thousand rows, so that asking for a block costs nothing by
    /// row, and those of many runs fit into memory.
    static let blockBytes = 256 << 10

    private var block: [UInt8] = []
    private var place: Int32 = 0
    /// The first bucket of the block.
    private var bucket: Int64 = 0

    /// Adds rows.
    mutating func add(
        _ rows: borrowing RowSet,
        _ range: Range<Int>,
        to writer: inout CopyWriter
    ) throws(PostgresError) {
        for row in range {
            if block.isEmpty { bucket = rows.buckets[row] }
            rows.encode(row, into: &block)
            if block.count >= Self.blockBytes { try finish(&writer) }
        }
    }

    /// Writes what is left.
    mutating func finish(_ writer: inout CopyWriter) throws(PostgresError) {
        guard !block.isEmpty else { return }
        try writer.row(columns: 3)
        writer.int32(place)
        writer.timestamp(bucket)
        writer.bytes(block)
        place += 1
        block.removeAll(keepingCapacity: true)
    }
}

/// Reads the blocks of a run.
struct SortedRunReader {
    private let name: String
    private let definition: RollupDefinition
    private var place: Int64 = 0

    init(_ name: String, _ definition: RollupDefinition) {
        self.name = name
        self.definition = definition
    }

    /// The rows of the next block; nil behind the last one.
    mutating func next(_ connection: PostgresConnection) throws(PostgresError) -> RowSet? {
        let found = try connection.query(
            "SELECT rows FROM \(name) WHERE place = $1",
            [.int(place)]
        )
        guard found.rowCount > 0 else { return nil }
        place += 1
        do throws(RecordError) {
            return try found.withBytes(0, 0) { bytes throws(RecordError) in
                try RowSet(definition, decoding: bytes.octets)
            }
        } catch {
            throw PostgresError(
                call: "SortedRunReader.next",
                message: "block \(place - 1) of \(name) is damaged: \(error)"
            )
        }
    }
}

/// Rows as bytes.
extension RowSet {
    /// Appends a row: numbers as varints, histograms and sketches behind their lengths.
    func encode(_ row: Int, into output: inout [UInt8]) {
        let numbers = counts[row].numbers
        output.append(addingCapacity: 10 * (1 + width + numbers.count)) { span in
            span.appendVarint(UInt64(bitPattern: buckets[row]))
            for id in key(row) { span.appendVarint(UInt64(UInt32(bitPattern: id))) }
            for index in numbers.indices {
                span.appendVarint(UInt64(bitPattern: numbers[index]))
            }
        }
        for blob in 0..<blobs {
            withBlob(row, blob) { bytes in
                output.append(addingCapacity: 10 + bytes.count) { span in
                    span.appendVarint(UInt64(bytes.count))
                    for index in bytes.indices { span.append(bytes[index]) }
                }
            }
        }
    }

    /// Rows of a rollup from bytes.
    init(_ definition: RollupDefinition, decoding bytes: Span<UInt8>) throws(RecordError) {
        self.init(definition)
        var reader = WireReader(bytes)
        var key = [Int32](repeating: 0, count: width)
        var numbers = [14 of Int64](repeating: 0)
        while !reader.isAtEnd {
            let bucket = Int64(bitPattern: try reader.varint())
            for place in 0..<width {
                key[place] = Int32(truncatingIfNeeded: Int64(bitPattern: try reader.varint()))
            }
            for index in numbers.indices {
                numbers[index] = Int64(bitPattern: try reader.varint())
            }
            append(bucket: bucket, key: key, counts: Counts(numbers: numbers))
            for _ in 0..<blobs {
                append(bytes.extracting(try reader.delimited().range))
            }
        }
    }
}
