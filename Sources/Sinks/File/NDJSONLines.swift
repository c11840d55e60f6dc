import EventLog
import FileIO
import Records

/// Records as lines of JSON.
struct NDJSONLines {
    /// The lines so far.
    private(set) var bytes: [UInt8] = []

    /// Appends a record; one that cannot be decoded is kept as its identity and its bytes.
    mutating func append(_ log: LogID, _ offset: Offset, _ record: RawSpan) {
        if let decoded = try? RequestRecord(decoding: record) {
            bytes.append(contentsOf: decoded.json().utf8)
        } else {
            var data = ""
            for index in 0..<record.byteCount {
                Hexadecimal.append(record.littleEndian(UInt8.self, at: index), to: &data)
            }
            let line = "{\"log_id\":\"\(log)\",\"offset\":\(offset),\"malformed\":\"\(data)\"}"
            bytes.append(contentsOf: line.utf8)
        }
        bytes.append(UInt8(ascii: "\n"))
    }
}

/// A time as `20260131T060000Z`.
///
/// - Parameter microseconds: Since the epoch, not negative.
func compactTime(_ microseconds: Int64) -> String {
    let seconds = max(0, microseconds) / 1_000_000
    let (days, rest) = (seconds / 86_400, seconds % 86_400)
    // Days since 0000-03-01, in eras of 400 years (Howard Hinnant's `civil_from_days`).
    let shifted = days + 719_468
    let (era, dayOfEra) = (shifted / 146_097, shifted % 146_097)
    let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    let time = [rest / 3_600, rest / 60 % 60, rest % 60].map(twoDigits).joined()
    return "\(year)\(twoDigits(month))\(twoDigits(day))T\(time)Z"
}

private func twoDigits(_ number: Int64) -> String {
    number < 10 ? "0\(number)" : "\(number)"
}
