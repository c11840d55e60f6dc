import Postgres
import Records
import Rollups

/// Rows as the columns of a rollup table.
extension RowSet {
    /// Appends the rows of a result.
    mutating func append(_ result: PostgresResult) {
        for row in 0..<result.rowCount {
            var numbers = [14 of Int64](repeating: 0)
            for index in numbers.indices {
                numbers[index] = result.int(row, 1 + width + index) ?? 0
            }
            append(
                bucket: result.timestamp(row, 0) ?? 0,
                key: (0..<width).lazy.map { place in
                    Int32(truncatingIfNeeded: result.int(row, 1 + place) ?? 0)
                },
                counts: Counts(numbers: numbers)
            )
            for blob in 0..<blobs {
                result.withBytes(row, 1 + width + numbers.count + blob) { bytes in
                    append(bytes.octets)
                }
            }
        }
    }
}

extension CopyWriter {
    /// Writes some rows of a set.
    mutating func rows(
        _ set: borrowing RowSet,
        _ range: Range<Int>,
        columns: Int
    ) throws(PostgresError) {
        for row in range {
            try self.row(columns: columns)
            timestamp(set.buckets[row])
            int32s(set.ids.span.extracting((row * set.width)..<((row + 1) * set.width)))
            counts(set.counts[row])
            for blob in 0..<set.blobs {
                set.withBlob(row, blob) { bytes in self.bytes(bytes) }
            }
        }
    }

    /// Writes the keys of some rows of a set.
    mutating func keys(_ set: borrowing RowSet, _ range: Range<Int>) throws(PostgresError) {
        for row in range {
            try self.row(columns: 1 + set.width)
            timestamp(set.buckets[row])
            int32s(set.ids.span.extracting((row * set.width)..<((row + 1) * set.width)))
        }
    }
}
