import type { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { identityOfCertificate } from '../../gateway/client-identity.ts';

/** As Node prints certificates; the alternative names of the second were seen on a real one. */
function subjectsOf(subjectAltName: string | undefined, CN?: string | string[]): string[] {
  const certificate: Pick<X509Certificate, 'subjectAltName' | 'toLegacyObject'> = {
    subjectAltName,
    toLegacyObject: () =>
      ({ subject: { CN } }) as unknown as ReturnType<X509Certificate['toLegacyObject']>,
  };
  return identityOfCertificate(certificate as X509Certificate).subjects;
}

describe('who a client certificate stands for', () => {
  it('are its URIs and DNS names, typed', () => {
    expect(
      subjectsOf('URI:spiffe://mesh/ns/a/sa/b, DNS:Worker.Internal, IP Address:10.0.0.1', 'cn'),
    ).toEqual(['uri:spiffe://mesh/ns/a/sa/b', 'dns:worker.internal']);
  });

  it('reads a name that holds the separator as one name', () => {
    const printed =
      'URI:"spiffe://a/b\\u002c DNS:evil", DNS:X.Example, DNS:"quo\\\\te", email:a@b.c, ' +
      'DirName:"CN=foo\\\\\\u002c bar"';
    expect(subjectsOf(printed, 'cn')).toEqual([
      'uri:spiffe://a/b, DNS:evil',
      'dns:x.example',
      'dns:quo\\te',
    ]);
  });

  it('is its CN only where it has neither URI nor DNS name', () => {
    expect(subjectsOf(undefined, 'worker')).toEqual(['cn:worker']);
    expect(subjectsOf('IP Address:10.0.0.1, email:a@b.c', ['a', 'b'])).toEqual(['cn:a', 'cn:b']);
    expect(subjectsOf(undefined)).toEqual([]);
  });

  it('is nobody where the names cannot be read, or hold control characters', () => {
    expect(subjectsOf('DNS:good.example, DNS:"broken', 'cn')).toEqual([]);
    expect(subjectsOf('DNS:a"b, DNS:c', 'cn')).toEqual([]);
    expect(subjectsOf('DNS:"good.example\\u0000.evil.com"', 'cn')).toEqual([]);
    expect(subjectsOf(undefined, 'a\u0000b')).toEqual([]);
  });
});
