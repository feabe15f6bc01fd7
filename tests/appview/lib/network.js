// A small AT network on loopback: a directory of did:plc, a host of did:web, and accounts with real keys.

import { createServer } from 'node:http'
import { once } from 'node:events'
import { P256Keypair, Secp256k1Keypair } from '@atproto/crypto'
import { createServiceJwt } from '@atproto/xrpc-server'
import { did as newDid } from './people.js'

export const SERVICE = 'did:web:contacts.example.com'

/** Serves the DID documents of its accounts: /did:plc:… as the directory does, /.well-known/did.json as a host does. */
export class Network {
  static async start() {
    const network = new Network()
    network.server = createServer((request, response) => network.answer(request, response))
    network.server.listen(0, '127.0.0.1')
    await once(network.server, 'listening')
    network.port = network.server.address().port
    network.url = `http://127.0.0.1:${network.port}`
    return network
  }

  constructor() {
    this.documents = new Map()
    this.asked = []
  }

  answer(request, response) {
    this.asked.push(request.url)
    const path = decodeURIComponent(request.url)
    const did = path === '/.well-known/did.json' ? this.webDid : path.slice(1)
    const document = this.documents.get(did)
    response.writeHead(document ? 200 : 404, { 'content-type': 'application/did+ld+json' })
    response.end(JSON.stringify(document ?? { message: 'not registered' }))
  }

  /** The did:web of this host. */
  get webDid() {
    return `did:web:localhost%3A${this.port}`
  }

  /** An account with a key of this kind, in the form of the directory's documents. */
  async account({ kind = Secp256k1Keypair, did = newDid() } = {}) {
    const keypair = await kind.create()
    this.publish(did, keypair)
    return new Account(did, keypair)
  }

  publish(did, keypair) {
    this.documents.set(did, {
      '@context': ['https://www.w3.org/ns/did/v1', 'https://w3id.org/security/multikey/v1'],
      id: did,
      alsoKnownAs: ['at://somebody.example.com'],
      verificationMethod: [
        {
          id: `${did}#atproto`,
          type: 'Multikey',
          controller: did,
          publicKeyMultibase: keypair.did().slice('did:key:'.length),
        },
      ],
      service: [],
    })
  }

  /** What a server needs to take the tokens of this network. */
  get env() {
    return {
      ACQUAINT_ATPROTO__SERVICE_DID: SERVICE,
      ACQUAINT_ATPROTO__PLC_URL: this.url,
      ACQUAINT_ATPROTO__ALLOW_PRIVATE_ADDRESSES: 'true',
    }
  }

  async end() {
    this.server.closeAllConnections()
    this.server.close()
    await once(this.server, 'close')
  }
}

export const KINDS = { ES256K: Secp256k1Keypair, ES256: P256Keypair }

export class Account {
  constructor(did, keypair) {
    Object.assign(this, { did, keypair })
  }

  /** A token for one method, made by Bluesky's own code. */
  token(lxm, change = {}) {
    return createServiceJwt({ iss: this.did, aud: SERVICE, lxm, keypair: this.keypair, ...change })
  }
}
