import Rollups

/// How a rollup's table holds a dimension.
enum DimensionColumn: Equatable, Sendable {
    /// A surrogate id of `sluice.dimension` in the column of this name.
    case identifier(String)

    /// The status itself: 0 is absent, −1 is `__other__`.
    case status

    /// Derived from the status column: its hundreds.
    case classOfStatus

    /// The column of `dimension` in `rollup`, which must cover it.
    init(_ dimension: Dimension, in rollup: RollupDefinition) {
        if dimension == .status {
            self = .status
        } else if dimension == .statusClass, !rollup.dimensions.contains(.statusClass) {
            self = .classOfStatus
        } else {
            self = .identifier(dimension.name)
        }
    }

    /// Status that stands for `__other__`.
    static let otherStatus: Int64 = -1

    /// Name of the column in the table.
    var columnName: String {
        switch self {
        case .identifier(let name): name
        case .status, .classOfStatus: "status"
        }
    }

    /// SQL of an integer that identifies the value: 0 is absent.
    var expression: String {
        switch self {
        case .identifier(let name): Statement.quote(name)
        case .status: "status"
        case .classOfStatus: "(CASE WHEN status > 0 THEN status / 100 ELSE status END)"
        }
    }

    /// SQL of the value in raw records.
    var expressionOfRecords: String {
        if case .identifier(let name) = self, let tag = Dimension(name: name)?.tagName {
            return RecordColumn.tagExpression(tag)
        }
        return expression
    }

    /// The value that the integer `number` stands for, unless it is an id to be looked up.
    func value(_ number: Int64) -> Value {
        if number == 0 { return .null }
        if number == Self.otherStatus { return .text(Dimension.otherValue) }
        return self == .classOfStatus ? .text("\(number)xx") : .integer(number)
    }

    /// The integer that stands for `text`, unless ids have to be looked up; nil matches nothing.
    func number(_ text: String) -> Int64? {
        if text.isEmpty { return 0 }
        switch self {
        case .identifier: return nil
        case .status:
            guard let status = Int64(text), status > 0 else { return nil }
            return status
        case .classOfStatus:
            guard text.utf8.count == 3, text.hasSuffix("xx"), let first = text.utf8.first,
                (UInt8(ascii: "1")...UInt8(ascii: "9")).contains(first)
            else { return nil }
            return Int64(first - UInt8(ascii: "0"))
        }
    }
}
