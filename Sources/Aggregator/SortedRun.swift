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

    /// The numbers of the rows that are not written, and their histograms and sketches.
    private var numbers: [UInt8] = []
    private var blobs: [UInt8] = []
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
            let end = (numbers: numbers.count, blobs: blobs.count)
            rows.encode(row, &numbers, &blobs)
            let isFull = end.numbers > 0 && numbers.count + blobs.count > Self.blockBytes
            if isFull { try write(end.numbers, end.blobs, &writer) }
            if isFull || end.numbers == 0 { bucket = rows.buckets[row] }
        }
    }

    /// Writes what is left.
    mutating func finish(_ writer: inout CopyWriter) throws(PostgresError) {
        if !numbers.isEmpty { try write(numbers.count, blobs.count, &writer) }
    }

    /// Writes the rows that end at these bytes; the others begin the next block.
    private mutating func write(
        _ numbersEnd: Int,
        _ blobsEnd: Int,
        _ writer: inout CopyWriter
    ) throws(PostgresError) {
        block.removeAll(keepingCapacity: true)
        block.append(addingCapacity: 10) { span in span.appendVarint(UInt64(numbersEnd)) }
        block.append(contentsOf: numbers[..<numbersEnd])
        block.append(contentsOf: blobs[..<blobsEnd])
        try writer.row(columns: 3)
        writer.int32(place)
        writer.timestamp(bucket)
        writer.bytes(block)
        place += 1
        numbers.removeFirst(numbersEnd)
        blobs.removeFirst(blobsEnd)
    }
}

/// Reads a run from its beginning, in a transaction of the session that reads.
struct SortedRunReader {
    /// Blocks that are asked for together. Chosen: a quarter of a megabyte, so that asking costs
    /// nothing by row, and what is at hand of many runs fits into memory.
    private static let blockCount = 32

    private let name: String
    private let cursor: String
    /// The next block.
    private var place: Int64 = 0

    /// Begins with a table.
    ///
    /// - Parameters:
    ///   - name: The table, for SQL.
    ///   - number: Another one for each run that the session reads.
    ///   - connection: The session.
    init(
        _ name: String,
        number: Int,
        _ connection: PostgresConnection
    ) throws(PostgresError) {
        self.name = name
        cursor = "run_\(number)"
        try connection.execute(
            "DECLARE \(cursor) NO SCROLL CURSOR FOR SELECT place, rows FROM \(name)"
        )
    }

    /// Appends the next rows; none behind the last ones.
    mutating func read(
        into rows: inout RowSet,
        _ connection: PostgresConnection
    ) throws(PostgresError) {
        let found = try connection.query("FETCH \(Self.blockCount) FROM \(cursor)")
        for row in 0..<found.rowCount {
            guard found.int(row, 0) == place, let block = found.bytes(row, 1) else {
                throw damage("it is not where it was written")
            }
            do throws(RecordError) { try rows.append(decoding: block) } catch {
                throw damage("\(error)")
            }
            place += 1
        }
    }

    private func damage(_ why: String) -> PostgresError {
        PostgresError(
            call: "SortedRunReader.next",
            message: "block \(place) of \(name) is damaged: \(why)"
        )
    }
}

/// Rows as bytes: a block begins with the length of their numbers, which come first, then all
/// histograms and sketches, so that these are copied together.
extension RowSet {
    /// Appends the numbers of a row as varints, among them the lengths of its histograms and
    /// sketches, and these.
    func encode(_ row: Int, _ numbers: inout [UInt8], _ bytes: inout [UInt8]) {
        let counts = counts[row].numbers
        let ids = ids.span.extracting((row * width)..<((row + 1) * width))
        numbers.append(addingCapacity: 10 * (1 + width + counts.count + blobs)) { span in
            span.appendVarint(UInt64(bitPattern: buckets[row]))
            for place in ids.indices { span.appendVarint(UInt64(UInt32(bitPattern: ids[place]))) }
            for index in counts.indices {
                span.appendVarint(UInt64(bitPattern: counts[index]))
            }
            for blob in 0..<blobs { span.appendVarint(UInt64(range(row, blob).count)) }
        }
        bytes.append(contentsOf: blobBytes(row..<(row + 1)))
    }

    /// Appends the rows of a block; on an error part of them may have been appended.
    mutating func append(decoding block: [UInt8]) throws(RecordError) {
        var header = WireReader(block.span)
        let numbers = try header.delimited().range
        var end = arena.count
        arena.append(contentsOf: block[numbers.upperBound...])
        var reader = WireReader(block.span.extracting(numbers))
        var counts = [14 of Int64](repeating: 0)
        var row = [UInt64](repeating: 0, count: 1 + width + counts.count + blobs)
        while !reader.isAtEnd {
            var places = row.mutableSpan
            try reader.varints(into: &places)
            for index in counts.indices {
                counts[index] = Int64(bitPattern: row[1 + width + index])
            }
            append(
                bucket: Int64(bitPattern: row[0]),
                key: row[1..<(1 + width)].lazy.map { Int32(truncatingIfNeeded: $0) },
                counts: Counts(numbers: counts)
            )
            for count in row.suffix(blobs) {
                guard count <= UInt64(arena.count - end) else {
                    throw .truncated(position: block.count)
                }
                end += Int(truncatingIfNeeded: count)
                ends.append(end)
            }
        }
        guard end == arena.count else { throw .truncated(position: numbers.upperBound) }
    }
}
