// Every method with everything that is no valid session for it: none may succeed, and none may tell what was wrong.

import assert from 'node:assert/strict'
import { createHash, createHmac } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { execFileSync } from 'node:child_process'
import { KINDS, Network, SERVICE } from '../lib/network.js'
import { did, number } from '../lib/people.js'
import { Server } from '../lib/server.js'

const CONTACT = 'app.bsky.contact.'
const KEY = 'aqk_the-key-of-a-back-end-of-these-tests'

/** Verb, path, body, and the name that a token for the method has to have; `null` where no account's session will do. */
const METHODS = [
  ['POST', `/xrpc/${CONTACT}startPhoneVerification`, { phone: number() }, `${CONTACT}startPhoneVerification`],
  ['POST', `/xrpc/${CONTACT}verifyPhone`, { phone: number(), code: '000000' }, `${CONTACT}verifyPhone`],
  ['POST', `/xrpc/${CONTACT}importContacts`, { token: 'x', contacts: [number()] }, `${CONTACT}importContacts`],
  ['GET', `/xrpc/${CONTACT}getMatches`, undefined, `${CONTACT}getMatches`],
  ['POST', `/xrpc/${CONTACT}dismissMatch`, { subject: did() }, `${CONTACT}dismissMatch`],
  ['POST', `/xrpc/${CONTACT}removeData`, {}, `${CONTACT}removeData`],
  ['GET', `/xrpc/${CONTACT}getSyncStatus`, undefined, `${CONTACT}getSyncStatus`],
  ['GET', '/v1/contact-discovery/credentials', undefined, 'app.acquaint.discovery.getCredentials'],
  ['GET', '/v1/lookup/quota', undefined, 'app.acquaint.discovery.getQuota'],
  ['POST', '/v1/credentials/verify', { username: 'a', password: 'b' }, null],
]

const b64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** A token with another head or another claim, signed as `sign` does. */
async function forged(account, lxm, { head = {}, claims = {}, sign } = {}) {
  const token = await account.token(lxm)
  const [first, second] = token.split('.').slice(0, 2).map((part) => JSON.parse(Buffer.from(part, 'base64url')))
  const signed = `${b64({ ...first, ...head })}.${b64({ ...second, ...claims })}`
  const signature = sign ? await sign(signed) : Buffer.from(await account.keypair.sign(Buffer.from(signed)))
  return `${signed}.${Buffer.from(signature).toString('base64url')}`
}

/** What is presented in place of a session for a method, by what is wrong with it; each is made anew for each call. */
function sessions(network, account, other) {
  const seconds = () => Math.floor(Date.now() / 1000)
  const publicKey = () => Buffer.from(account.keypair.publicKeyBytes())
  const bearer = (token) => ({ authorization: `Bearer ${token}` })
  const raw = (name, value) => ({ [name]: value })
  return {
    nothing: () => ({}),
    empty: () => bearer(''),
    'another scheme': async (lxm) => raw('authorization', `Token ${await account.token(lxm)}`),
    malformed: () => bearer('not.a.token'),
    'two parts': async (lxm) => bearer((await account.token(lxm)).split('.').slice(0, 2).join('.')),
    'four parts': async (lxm) => bearer(`${await account.token(lxm)}.x`),
    'no signature': async (lxm) => bearer((await account.token(lxm)).split('.').slice(0, 2).join('.') + '.'),
    expired: async (lxm) => bearer(await account.token(lxm, { iat: seconds() - 120, exp: seconds() - 60 })),
    'of the future': async (lxm) => bearer(await account.token(lxm, { iat: seconds() + 300, exp: seconds() + 360 })),
    'for years': async (lxm) => bearer(await account.token(lxm, { exp: seconds() + 1e8 })),
    'wrong audience': async (lxm) => bearer(await account.token(lxm, { aud: 'did:web:other.example.com' })),
    'wrong method': async () => bearer(await account.token('com.atproto.repo.createRecord')),
    'no method': async () => bearer(await account.token(undefined)),
    'wrong key': async (lxm) => bearer(await account.token(lxm, { keypair: other.keypair })),
    "another account's": async (lxm) => bearer(await account.token(lxm, { iss: other.did })),
    'an account that does not exist': async (lxm) => bearer(await account.token(lxm, { iss: did() })),
    'alg none': async (lxm) => bearer(await forged(account, lxm, { head: { alg: 'none' }, sign: () => '' })),
    'alg None': async (lxm) => bearer(await forged(account, lxm, { head: { alg: 'None' } })),
    'HMAC with the public key': async (lxm) =>
      bearer(
        await forged(account, lxm, {
          head: { alg: 'HS256' },
          claims: { sub: account.did },
          sign: (signed) => createHmac('sha256', publicKey()).update(signed).digest(),
        }),
      ),
    'a key of its own in the head': async (lxm) => {
      const jwk = { kty: 'EC', crv: 'secp256k1', x: b64('x'.repeat(32)), y: b64('y'.repeat(32)) }
      return bearer(await forged(account, lxm, { head: { jwk }, sign: (signed) => other.keypair.sign(Buffer.from(signed)) }))
    },
    'a key elsewhere': async (lxm) =>
      bearer(await forged(account, lxm, { head: { jku: network.url, x5u: network.url }, sign: () => Buffer.alloc(64, 1) })),
    'a kid that is a path': async (lxm) =>
      bearer(await forged(account, lxm, { head: { kid: '../../../../dev/null' }, sign: () => Buffer.alloc(64, 1) })),
    'a huge head': async (lxm) => bearer(await forged(account, lxm, { head: { more: 'x'.repeat(9000) } })),
    'another claim than was signed': async (lxm) => {
      const [head, claims, signature] = (await account.token(lxm)).split('.')
      const changed = { ...JSON.parse(Buffer.from(claims, 'base64url')), iss: other.did }
      return bearer(`${head}.${b64(changed)}.${signature}`)
    },
    'an API key that is none': () => ({ ...bearer('aqk_somebody-elses-key'), 'acquaint-account': account.did }),
    'the API key without its last letter': () => ({ ...bearer(KEY.slice(0, -1)), 'acquaint-account': account.did }),
    'the digest of the API key': () => ({
      ...bearer(createHash('sha256').update(KEY).digest('hex')),
      'acquaint-account': account.did,
    }),
    'the API key for nobody that there could be': () => ({ ...bearer(KEY), 'acquaint-account': 'nobody' }),
    'the API key for no account': () => bearer(KEY),
    "somebody's token for another account": async (lxm) => ({
      ...bearer(await account.token(lxm)),
      'acquaint-account': other.did,
    }),
    'credentials that are none': () => raw('authorization', `Basic ${Buffer.from('a:1:b').toString('base64')}`),
  }
}

describe('the matrix of what is no session', () => {
  let network, server
  before(async () => {
    network = await Network.start()
    const entry = `tests:${createHash('sha256').update(KEY).digest('hex')}`
    server = await Server.start({
      env: {
        ...network.env,
        ACQUAINT_SESSIONS__API_KEYS: entry,
        ACQUAINT_CREDENTIALS__AUDIENCES: 'discovery:1',
        // So that there is somebody to be confused with.
        ACQUAINT_TOKENS__HMAC_SECRET: 'a key of the operator that has 32 bytes or more',
        ACQUAINT_TOKENS__AUDIENCE: SERVICE,
        ACQUAINT_OIDC__ISSUER: network.url,
        ACQUAINT_OIDC__AUDIENCE: SERVICE,
      },
      prepare: (folder, binary, env) =>
        execFileSync(binary, ['keys', 'audience', '--config', `${folder}/acquaint.toml`], { env, stdio: 'pipe' }),
    })
  })
  after(async () => {
    await server?.end()
    await network?.end()
  })

  const call = ([method, path, body], headers) =>
    fetch(server.url + path, {
      method,
      headers: { ...headers, ...(body ? { 'content-type': 'application/json' } : {}) },
      body: body && JSON.stringify(body),
    })

  it('lets nothing in, and says the same to all', async () => {
    let tried = 0
    for (const [algorithm, kind] of Object.entries(KINDS)) {
      const [account, other] = [await network.account({ kind }), await network.account({ kind })]
      for (const method of METHODS) {
        const bodies = new Map()
        for (const [what, make] of Object.entries(sessions(network, account, other))) {
          if (method[3] === null && what.startsWith('the API key for')) continue
          const answer = await call(method, await make(method[3] ?? 'app.acquaint.discovery.verify'))
          const where = `${algorithm}, ${method[1]}, ${what}`
          // Node's own client takes heads of up to 16 KiB, as the server does.
          assert.equal(answer.status, 401, where)
          bodies.set(await answer.text(), where)
          tried += 1
        }
        assert.equal(bodies.size, 1, `it is told apart: ${[...bodies.values()]}`)
      }
      // Each good token works, once.
      for (const method of METHODS.filter(([, , , lxm]) => lxm)) {
        const headers = { authorization: `Bearer ${await account.token(method[3])}` }
        assert.notEqual((await call(method, headers)).status, 401, method[1])
        assert.equal((await call(method, headers)).status, 401, `${method[1]}, replayed`)
        tried += 1
      }
      // And not one of them for another method than its own.
      for (const method of METHODS.filter(([, , , lxm]) => lxm)) {
        for (const another of METHODS.filter(([, , , lxm]) => lxm !== method[3])) {
          const headers = { authorization: `Bearer ${await account.token(method[3])}` }
          assert.equal((await call(another, headers)).status, 401, `${method[3]} at ${another[1]}`)
          tried += 1
        }
      }
    }
    assert.ok(tried > 790, `${tried} were tried`)
  })
})
