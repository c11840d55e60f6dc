/// Reads RFC 4180 text.
package enum CSVReader {
    /// The records with their fields.
    package static func rows(_ text: String) -> [[String]] {
        var rows: [[String]] = []
        var row: [String] = []
        var field: [UInt8] = []
        var isQuoted = false
        var bytes = Array(text.utf8)[...]
        func end() { row.append(String(decoding: field, as: UTF8.self)); field = [] }
        while let byte = bytes.popFirst() {
            switch (byte, isQuoted) {
            case (UInt8(ascii: "\""), true):
                if bytes.first == UInt8(ascii: "\"") {
                    field.append(byte)
                    bytes = bytes.dropFirst()
                } else {
                    isQuoted = false
                }
            case (UInt8(ascii: "\""), false): isQuoted = true
            case (UInt8(ascii: ","), false): end()
            case (UInt8(ascii: "\n"), false):
                if field.last == UInt8(ascii: "\r") { field.removeLast() }
                end()
                rows.append(row)
                row = []
            default: field.append(byte)
            }
        }
        if !row.isEmpty || !field.isEmpty {
            end()
            rows.append(row)
        }
        return rows
    }
}
