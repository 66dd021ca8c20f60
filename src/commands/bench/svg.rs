//! The stages' times as bars.

use super::report::{Measured, Report};

/// Sizes in pixels.
const WIDTH: f64 = 760.0;
const LABELS: f64 = 120.0;
const BARS: f64 = 460.0;
const ROW: f64 = 20.0;
const TITLE: f64 = 34.0;
const MARGIN: f64 = 16.0;

/// Draws one bar for each stage of each workload, up to its 95th percentile, the median in full colour; all
/// workloads have one scale.
pub(super) fn plot(report: &Report) -> String {
    let longest = report
        .workloads
        .iter()
        .flat_map(rows)
        .map(|(_, _, p95)| p95)
        .fold(f64::MIN_POSITIVE, f64::max);
    let height = MARGIN * 2.0
        + TITLE
        + report
            .workloads
            .iter()
            .map(|measured| TITLE + ROW * rows(measured).count() as f64)
            .sum::<f64>();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let mut y = MARGIN + ROW;
    let about = format!(
        "{}, {} cores; median and 95th percentile in seconds",
        report.machine.processor, report.machine.cores
    );
    text(&mut svg, MARGIN, y, "fill=\"#555\"", &about);
    y += TITLE - ROW;
    for measured in &report.workloads {
        y += TITLE;
        text(
            &mut svg,
            MARGIN,
            y - ROW / 2.0,
            "font-weight=\"bold\"",
            &measured.name,
        );
        for (name, p50, p95) in rows(measured) {
            let bar = |seconds: f64| seconds / longest * BARS;
            text(&mut svg, MARGIN, y + ROW * 0.7, "fill=\"#333\"", name);
            rectangle(&mut svg, y, bar(p95), "#b8cfe8");
            rectangle(&mut svg, y, bar(p50), "#2b6cb0");
            let figures = format!("{p50:.3}  {p95:.3}");
            let x = MARGIN + LABELS + bar(p95) + 6.0;
            text(&mut svg, x, y + ROW * 0.7, "fill=\"#333\"", &figures);
            y += ROW;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Name, median and 95th percentile of the whole message and of each stage.
fn rows(measured: &Measured) -> impl Iterator<Item = (&str, f64, f64)> {
    let whole = measured.message_secs;
    let stages = measured.stages.iter();
    std::iter::once(("message", whole.p50, whole.p95))
        .chain(stages.map(|(stage, spread)| (stage.as_str(), spread.p50, spread.p95)))
}

fn text(svg: &mut String, x: f64, y: f64, style: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    svg.push_str(&format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{content}</text>\n"
    ));
}

fn rectangle(svg: &mut String, y: f64, width: f64, colour: &str) {
    let (x, y, height) = (MARGIN + LABELS, y + 3.0, ROW - 6.0);
    svg.push_str(&format!(
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>\n"
    ));
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn every_stage_has_its_bars_and_text_is_escaped() {
        let plot = plot(&report());
        // The background, and two bars for the message and each of two stages.
        assert_eq!(plot.matches("<rect").count(), 1 + 2 * 3);
        assert!(plot.contains("a &lt;voice> message"));
        // 6 s, the 95th percentile of the message, is the whole width; 0.5 s a twelfth of it.
        assert!(plot.contains("width=\"460.0\""));
        assert!(plot.contains("width=\"38.3\""));
        assert!(plot.ends_with("</svg>\n"));
    }
}
