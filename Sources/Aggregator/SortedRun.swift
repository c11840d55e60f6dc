import Postgres
import Records
import Rollups

/// Rows of one partition in the order of their keys, stored in a table of blocks: what a rebuild
/// that does not fit into one transaction writes until all rows are there, and merges then.
///
/// A block costs the server what its bytes cost, and not what each of its columns would. Blocks are
/// written once, and read once in the order in which they lie there.
enum SortedRun {
    /// The statements that make the table.
    static func creation(of name: String) -> String {
        // The bytes are packed already, and a block stays in its page.
        """
        CREATE TABLE \(name) (place integer NOT NULL, bucket timestamptz NOT NULL, rows bytea)
            WITH (toast_tuple_target = 8160, autovacuum_enabled = off);
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
    /// Most bytes of a block, unless one row has more: with its other columns it fills a page.
    private static let blockBytes = 8_100

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
            let end = block.count
            rows.encode(row, into: &block)
            let isFull = end > 0 && block.count > Self.blockBytes
            if isFull { try write(end, &writer) }
            if isFull || end == 0 { bucket = rows.buckets[row] }
        }
    }

    /// Writes what is left.
    mutating func finish(_ writer: inout CopyWriter) throws(PostgresError) {
        if !block.isEmpty { try write(block.count, &writer) }
    }

    /// Writes the rows that end at a byte; the others begin the next block.
    private mutating func write(_ end: Int, _ writer: inout CopyWriter) throws(PostgresError) {
        try writer.row(columns: 3)
        writer.int32(place)
        writer.timestamp(bucket)
        writer.bytes(block.span.extracting(0..<end))
        place += 1
        block.removeFirst(end)
    }
}

/// Reads a run from its beginning, in a transaction of the session that reads.
struct SortedRunReader {
    /// Blocks that are asked for together. Chosen: a quarter of a megabyte, so that asking costs
    /// nothing by row, and what is at hand of many runs fits into memory.
    private static let blockCount = 32

    private let name: String
    private let definition: RollupDefinition
    private let cursor: String
    /// The next block.
    private var place: Int64 = 0

    /// Begins with a table.
    ///
    /// - Parameters:
    ///   - name: The table, for SQL.
    ///   - number: Another one for each run that the session reads.
    ///   - definition: The rollup.
    ///   - connection: The session.
    init(
        _ name: String,
        number: Int,
        _ definition: RollupDefinition,
        _ connection: PostgresConnection
    ) throws(PostgresError) {
        self.name = name
        self.definition = definition
        cursor = "run_\(number)"
        try connection.execute(
            "DECLARE \(cursor) NO SCROLL CURSOR FOR SELECT place, rows FROM \(name)"
        )
    }

    /// The next rows; nil behind the last ones.
    mutating func next(_ connection: PostgresConnection) throws(PostgresError) -> RowSet? {
        let found = try connection.query("FETCH \(Self.blockCount) FROM \(cursor)")
        guard found.rowCount > 0 else { return nil }
        var rows = RowSet(definition)
        for row in 0..<found.rowCount {
            guard found.int(row, 0) == place else {
                throw damage("it is not where it was written")
            }
            do throws(RecordError) {
                try found.withBytes(row, 1) { bytes throws(RecordError) in
                    try rows.append(decoding: bytes.octets)
                }
            } catch { throw damage("\(error)") }
            place += 1
        }
        return rows
    }

    private func damage(_ why: String) -> PostgresError {
        PostgresError(
            call: "SortedRunReader.next",
            message: "block \(place) of \(name) is damaged: \(why)"
        )
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

    /// Appends the rows of a block.
    mutating func append(decoding bytes: Span<UInt8>) throws(RecordError) {
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
