// From the graph's numbers to a judgement: the rules of sm3/swarm/judge.py, line by line; a test holds the two together.

const UNDECIDED = [0.2, 0.8];

export function probabilityOf(logit, calibration) {
  const score = calibration.slope * logit + calibration.offset;
  return 1 / (1 + Math.exp(-Math.max(-60, Math.min(60, score))));
}

export function refusal(m, limits) {
  const [narrow, wide] = limits.diameter_um;
  const checks = [
    [!(m.colour <= limits.colour), "a colour picture: give the camera's grey image"],
    [!(m.clipped <= limits.clipped), "too dark or too bright: part of the well is at the end of the scale; change the exposure"],
    [!(m.contrast >= limits.contrast[0]), "blank: no streaks in the well; focus, or choose a filled well"],
    [!(m.rim >= limits.rim), "no round rim was found: crop the image to one whole well"],
    [!(narrow <= m.diameter_um && m.diameter_um <= wide),
      `the circle is ${m.diameter_um.toFixed(0)} um wide, outside ${narrow.toFixed(0)} to ${wide.toFixed(0)}: check the pixel size`],
    [!(m.contrast <= limits.contrast[1]), "too much contrast for moving bacteria: is this a well?"],
    [!(m.sharpness >= limits.sharpness[0]), "out of focus: focus on the cells"],
    [!(m.sharpness <= limits.sharpness[1]), "noise or single sharp cells instead of streaks: expose for a third of a second"],
    [!(m.unevenness <= limits.unevenness), "the well is unevenly bright: look for dirt or a bubble"],
    [!(m.distance <= limits.distance), "unlike every well the model was trained on: look at the film"],
  ];
  const first = checks.find(([failed]) => failed);
  return first ? first[1] : "";
}

export function judge(logits, measures, card) {
  const calibration = card.calibration;
  const every = logits.map((logit) => probabilityOf(logit, calibration));
  const mean = logits.reduce((sum, logit) => sum + logit, 0) / logits.length;
  const probability = probabilityOf(mean, calibration);
  const labels = [["swarming", probability], ["swimming", 1 - probability]]
    .filter(([label, own]) => 1 - own <= calibration.quantiles[label])
    .map(([label]) => label);
  let reason = refusal(measures, card.limits);
  if (!reason && (labels.length === 2 || (UNDECIDED[0] < probability && probability < UNDECIDED[1]))) {
    reason = "both labels are possible: image the well again later, or look at the film";
  }
  const called = probability > calibration.threshold ? "swarming" : "swimming";
  return { probability, low: Math.min(...every), high: Math.max(...every), decision: reason ? "cannot tell" : called, reason, labels };
}
