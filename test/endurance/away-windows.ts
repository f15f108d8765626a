/** From and until when something was away; `untilMs` is Infinity while it is. Epoch, milliseconds. */
export interface AwayWindow {
  fromMs: number;
  untilMs: number;
}

export function overlaps(windows: readonly AwayWindow[], { fromMs, untilMs }: AwayWindow): boolean {
  return windows.some((window) => window.fromMs <= untilMs && window.untilMs >= fromMs);
}
