import type { AdapterFactory } from 'oidc-provider';

import type { RevocationCause } from './grant-journal.ts';
import type { GrantStore } from './grant-store.ts';
import { errors } from './quiet-oidc-provider.ts';

/**
 * oidc-provider's storage over our store. Its token endpoint looks at `consumed`, awaits the account,
 * and only then consumes: with a plain `consume`, requests that run at once all win. Here consuming is
 * compare and set, and who loses has presented a spent token: the family ends (RFC 9700 section 4.14).
 * No LRU either, which would forget live refresh tokens beyond 1,000 entries.
 */
export function createOidcAdapter(
  store: GrantStore,
  /** Why a revocation that oidc-provider asks for just now happens. */
  currentCause: () => RevocationCause,
): AdapterFactory {
  return (model) => ({
    upsert(id, payload, expiresIn) {
      store.put(model, id, payload, expiresIn);
      return Promise.resolve();
    },
    find: (id) => Promise.resolve(store.find(model, id)),
    findByUserCode: (userCode) =>
      Promise.resolve(store.findWhere(model, (payload) => payload.userCode === userCode)),
    findByUid: (uid) => Promise.resolve(store.findWhere(model, (payload) => payload.uid === uid)),
    consume(id) {
      if (store.consume(id)) return Promise.resolve();
      const grantId = store.grantOfSpent(id);
      if (grantId !== undefined) store.revoke(grantId, 'reuse');
      return Promise.reject(new errors.InvalidGrant('refresh token already used'));
    },
    destroy(id) {
      store.drop(model, id);
      return Promise.resolve();
    },
    revokeByGrantId(grantId) {
      store.revoke(grantId, currentCause());
      return Promise.resolve();
    },
  });
}
