package import Records

/// Folds decoded records into rollup rows, in memory, until the caller writes them.
///
/// A pure function of the records folded: the rows and their encodings do not depend on order or
/// batching. Values of dimensions are interned per batch, so that the caller resolves each value
/// once, not per row; id 0 is "absent". Nothing is allocated per record or per row once warm.
package struct FoldBatch: Sendable {
    /// The rollups that are folded into.
    package let definitions: [RollupDefinition]
    /// The distinct values of each text dimension, by raw value of `Dimension`.
    var values: [ValueTable]
    /// The rows of each rollup.
    var tables: [RowTable]
    /// The dimensions that any rollup needs.
    private let needed: [Dimension]
    /// The value of each dimension in the record being folded, by raw value of `Dimension`.
    private var current: [UInt32]
    /// How many records were folded since the last `removeAll`.
    package private(set) var recordCount = 0

    /// Makes an empty batch for some rollups.
    package init(_ definitions: [RollupDefinition] = RollupDefinition.builtIn) {
        self.definitions = definitions
        values = Dimension.allCases.map { _ in ValueTable() }
        tables = definitions.map { RowTable($0) }
        needed = Dimension.allCases.filter { dimension in
            definitions.contains { $0.dimensions.contains(dimension) }
        }
        current = [UInt32](repeating: 0, count: Dimension.allCases.count)
    }

    /// Folds one record, decoded from these bytes; false when its kind counts nothing.
    @discardableResult
    package mutating func fold(_ record: RecordView, _ bytes: RawSpan) -> Bool {
        guard record.kind == .request else { return false }
        let octets = bytes.octets
        for dimension in needed {
            current[Int(dimension.rawValue)] = valueID(of: dimension, in: record, octets)
        }
        let sample = Sample(record, octets)
        for index in tables.indices {
            tables[index].add(sample, current)
        }
        recordCount += 1
        return true
    }

    /// The id of a record's value of a dimension; the number itself for integer dimensions.
    @inline(__always)
    private mutating func valueID(
        of dimension: Dimension,
        in record: RecordView,
        _ octets: Span<UInt8>
    ) -> UInt32 {
        let place = Int(dimension.rawValue)
        switch dimension {
        case .status: return Sample.status(of: record)
        case .statusClass:
            let status = Sample.status(of: record)
            guard status > 0 else { return 0 }
            let text: [3 of UInt8] = [
                UInt8(ascii: "0") + UInt8(truncatingIfNeeded: status / 100), UInt8(ascii: "x"),
                UInt8(ascii: "x"),
            ]
            return values[place].id(of: text.span)
        case .outcome:
            guard record.outcome != .unspecified else { return 0 }
            return values[place].id(of: record.outcome.name.utf8.span)
        default:
            let range = record.range(of: dimension)
            guard !range.isEmpty else { return 0 }
            return values[place].id(of: octets.extracting(range.range))
        }
    }

    /// Forgets all rows and values and keeps the capacity.
    package mutating func removeAll() {
        for index in values.indices { values[index].removeAll() }
        for index in tables.indices { tables[index].removeAll() }
        recordCount = 0
    }

    /// Whether nothing was folded.
    package var isEmpty: Bool { recordCount == 0 }

    /// The memory in use, in bytes; what `removeAll` gives back to later records included.
    package var byteCount: Int {
        values.reduce(0) { $0 + $1.byteCount } + tables.reduce(0) { $0 + $1.byteCount }
    }

    /// How many rows a rollup has.
    package func rowCount(of rollup: Int) -> Int { tables[rollup].rowCount }

    /// How many ids a text dimension has; ids are below it, and 0 stands for absent.
    package func valueCount(of dimension: Dimension) -> Int {
        values[Int(dimension.rawValue)].count
    }

    /// The bytes of a value of a text dimension; empty for id 0.
    package func value(_ id: UInt32, of dimension: Dimension) -> ArraySlice<UInt8> {
        values[Int(dimension.rawValue)].value(id)
    }

    /// The text of a value of a text dimension; what is not UTF-8 becomes U+FFFD.
    package func text(_ id: UInt32, of dimension: Dimension) -> String {
        String(decoding: value(id, of: dimension), as: UTF8.self)
    }

    /// Calls the body with every row of a rollup, in the order in which their keys first came.
    package func forEachRow<E: Error>(
        of rollup: Int,
        _ body: (borrowing FoldedRow) throws(E) -> Void
    ) throws(E) {
        try tables[rollup].forEachRow(values, body)
    }
}

extension RecordView {
    /// Where the text of a dimension is; empty for dimensions that are no text on the wire.
    @inline(__always)
    func range(of dimension: Dimension) -> ByteRange {
        switch dimension {
        case .org: org
        case .api: api
        case .version: apiVersion
        case .route: route
        case .method: method
        case .region: region
        case .application: application
        case .key: keyID
        case .plan: plan
        case .country: country
        case .userAgent: userAgentFamily
        case .platform: platform
        case .upstream: upstreamAddress
        case .status, .statusClass, .outcome: ByteRange()
        }
    }
}
