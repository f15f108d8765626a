import Provider, { errors, type AdapterFactory, type AdapterPayload } from 'oidc-provider';
import type { RotationFamilies } from './rotation-families.ts';

const purgeEveryUpserts = 1_000;

interface Stored {
  payload: AdapterPayload;
  expiresAtMs: number;
}

type Entities = Partial<Record<'RefreshToken' | 'RotatedRefreshToken', { jti: string }>>;

/**
 * oidc-provider's storage, whose `consume` asks the rules of the rotation classes. oidc-provider never
 * sees that a refresh token was consumed: it would revoke the family, whatever the class.
 */
export function createRotationAdapter(options: {
  families: RotationFamilies;
  nowMs: () => number;
  /** What the end of a refresh token takes with it. */
  revocationEnds: 'grant' | 'token';
}): AdapterFactory {
  const { families, nowMs, revocationEnds } = options;
  return (model) => {
    const stored = new Map<string, Stored>();
    let upserts = 0;

    function purgeExpired(): void {
      for (const [id, { expiresAtMs }] of stored) if (expiresAtMs <= nowMs()) stored.delete(id);
    }

    function find(id: string): AdapterPayload | undefined {
      const item = stored.get(id);
      if (item === undefined || item.expiresAtMs <= nowMs()) return undefined;
      const { grantId } = item.payload;
      if (grantId !== undefined && families.isEnded(grantId)) return undefined;
      const isForExchange = model === 'RefreshToken' && currentRoute() === 'token';
      const isToken = model === 'RefreshToken' || model === 'AccessToken';
      return !isToken || isForExchange || families.isLive(id) ? item.payload : undefined;
    }

    return {
      upsert(id, payload, ttlSeconds) {
        const expiresAtMs = ttlSeconds === undefined ? Infinity : nowMs() + 1_000 * ttlSeconds;
        upserts += 1;
        if (upserts % purgeEveryUpserts === 0) purgeExpired();
        const isNew = !stored.has(id);
        stored.set(id, { payload, expiresAtMs });
        const { grantId } = payload;
        if (!isNew || grantId === undefined) return Promise.resolve();
        const entities = currentEntities();
        if (model === 'RefreshToken') {
          const parentId = entities?.RotatedRefreshToken?.jti ?? null;
          families.issueRefreshToken(id, grantId, expiresAtMs, parentId);
        } else if (model === 'AccessToken') {
          families.issueAccessToken(id, grantId, expiresAtMs, entities?.RefreshToken?.jti ?? null);
        }
        return Promise.resolve();
      },
      find: (id) => Promise.resolve(find(id)),
      findByUid: (uid) =>
        Promise.resolve([...stored.values()].find(({ payload }) => payload.uid === uid)?.payload),
      findByUserCode: () => Promise.resolve(undefined),
      consume: (id) =>
        families.exchange(id)
          ? Promise.resolve()
          : Promise.reject(new errors.InvalidGrant('refresh token already used')),
      destroy(id) {
        stored.delete(id);
        if (model === 'RefreshToken') families.retire(id);
        return Promise.resolve();
      },
      revokeByGrantId(grantId) {
        if (revocationEnds === 'grant' || currentRoute() !== 'revocation') families.end(grantId);
        return Promise.resolve();
      },
    };
  };
}

function currentRoute(): string | undefined {
  return Provider.ctx?.oidc.route;
}

function currentEntities(): Entities | undefined {
  return Provider.ctx?.oidc.entities as Entities | undefined;
}
