/** How many exchanges each app has under way in this process. */
export interface AppSlots {
  /** Takes a slot of the app; undefined when it has its share. Call what it answers to give it back. */
  take(appId: string): (() => void) | undefined;
}

const appShare = 0.25;

/** At most a quarter of the Activity slots for one app, so that a provider that hangs starves nobody. */
export function createAppSlots(activitySlots: number): AppSlots {
  const slotsMax = Math.max(Math.floor(activitySlots * appShare), 1);
  const taken = new Map<string, number>();
  return {
    take(appId) {
      const count = taken.get(appId) ?? 0;
      if (count >= slotsMax) return undefined;
      taken.set(appId, count + 1);
      let isTaken = true;
      return () => {
        if (!isTaken) return;
        isTaken = false;
        const left = (taken.get(appId) ?? 1) - 1;
        if (left === 0) taken.delete(appId);
        else taken.set(appId, left);
      };
    },
  };
}
