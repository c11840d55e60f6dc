/// Reads durations of the command line.
enum DurationText {
    /// Seconds of a text such as `500ms`, `10s`, `5m` or `1h`; nil if it is none or not positive.
    static func seconds(_ text: String) -> Double? {
        for (unit, length) in [("ms", 0.001), ("s", 1), ("m", 60), ("h", 3_600)]
        where text.hasSuffix(unit) {
            guard let number = Double(text.dropLast(unit.count)), number > 0, number < 1e9 else {
                continue
            }
            return number * length
        }
        return nil
    }
}
