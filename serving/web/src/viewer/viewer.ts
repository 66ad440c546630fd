/** The 3D view: a head under studio light that turns by drag, touch and keys, and is drawn only when something changed. */

import {
  CustomToneMapping,
  PCFShadowMap,
  PerspectiveCamera,
  Scene,
  Spherical,
  Vector3,
  WebGLRenderer,
  type DirectionalLight,
  type Object3D,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";

import type { GameCamera } from "../api/schema";
import type { Light } from "../ui/scene";
import { DEGREES, gameFov, gamePosition, photoSquare, viewerFov, sway } from "./framing";
import { AdaptiveResolution } from "./adaptiveResolution";
import { useEngineToneMapping } from "./toneMapping";
import { keyLight, MOODS, surroundings } from "./lights";
import { t } from "../language";

const MAX_PIXEL_RATIO = 2;
const EXPOSURE = 1.02;
/** The free view shows this much more than the game's picture, so that hair and neck are in it. */
const WIDER = 1.5;
const MIDDLE = new Vector3(0, -0.03, -0.06);
/** A small picture of the free view shows this much less. */
const CLOSE = 1.3;
const NEAREST = 0.55;
const FARTHEST = 1.7;
const TURNED_BY_KEY = 8 / DEGREES;
/** A head that nobody touches stops turning after a while, for the battery's sake. */
const TURNS_FOR = 27;
const TO_FRONT_SECONDS = 0.45;
/** What rests for so long is drawn as fine as the screen is, in milliseconds. */
const SHARPENS_AFTER = 160;

interface Movement {
  seconds: number;
  move: (share: number) => void;
  began: number | null;
}

export class Viewer {
  readonly canvas: HTMLCanvasElement;
  readonly anisotropy: number;
  /** Called while the head turns by itself, with the seconds since it began. */
  turned: (seconds: number) => void = () => undefined;
  /** Called before each picture, with where it is seen from. */
  seen: (from: Vector3) => void = () => undefined;
  private readonly renderer: WebGLRenderer;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(20, 1, 0.05, 10);
  private readonly controls: OrbitControls;
  private readonly lights = keyLight();
  private readonly calm = matchMedia("(prefers-reduced-motion: reduce)");
  private drawn = false;
  private lightTurned = 0;
  private turningSince: number | null = null;
  private readonly movements = new Set<Movement>();
  private toFront: Movement | null = null;
  private comparing = false;
  private readonly resolution = new AdaptiveResolution();
  private ratio = 1;
  private sharpening: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param game the camera of the game's own picture.
   * @param lost called when the graphics card was taken away, and when it is back.
   * @throws Error where the browser has no WebGL.
   */
  constructor(
    private readonly container: HTMLElement,
    private readonly game: GameCamera,
    lost: (isLost: boolean) => void,
  ) {
    this.renderer = new WebGLRenderer({ antialias: true, alpha: true, powerPreference: "default" });
    this.canvas = this.renderer.domElement;
    useEngineToneMapping();
    this.renderer.toneMapping = CustomToneMapping;
    this.renderer.toneMappingExposure = EXPOSURE;
    this.renderer.shadowMap.enabled = true;
    this.renderer.shadowMap.type = PCFShadowMap;
    this.anisotropy = Math.min(8, this.renderer.capabilities.getMaxAnisotropy());
    this.scene.environment = surroundings(this.renderer);
    this.scene.add(this.lights);
    container.append(this.canvas);
    this.controls = new OrbitControls(this.camera, this.canvas);
    this.setUpControls();
    this.front();
    new ResizeObserver(() => this.fit()).observe(container);
    this.canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      lost(true);
    });
    this.canvas.addEventListener("webglcontextrestored", () => {
      this.scene.environment = surroundings(this.renderer);
      lost(false);
      this.invalidate();
    });
    document.addEventListener("visibilitychange", () => this.invalidate());
  }

  add(object: Object3D): void {
    this.scene.add(object);
    this.invalidate();
  }

  /** Draw in the next frame. */
  invalidate(): void {
    if (this.drawn || document.hidden) return;
    this.drawn = true;
    requestAnimationFrame((now) => this.frame(now));
  }

  /** Sway to both sides until the person touches the head. Not for those who asked for less motion. */
  turn(): void {
    if (this.calm.matches || this.comparing) return;
    this.turningSince = performance.now();
    this.invalidate();
  }

  stopTurning(): void {
    this.turningSince = null;
  }

  /** Look from the front: as the game's own camera does when the photo is compared, else a little wider. */
  front(comparing = this.comparing, moving = false): void {
    this.comparing = comparing;
    this.stopTurning();
    const from = { position: this.camera.position.clone(), target: this.controls.target.clone(), fov: this.camera.fov };
    const position = new Vector3(...gamePosition(this.game));
    const target = comparing ? new Vector3(position.x, position.y, 0) : MIDDLE.clone();
    if (!comparing) position.set(MIDDLE.x, MIDDLE.y, position.z);
    const fov = this.fov();
    const move = (share: number): void => {
      const eased = share * share * (3 - 2 * share);
      this.camera.position.lerpVectors(from.position, position, eased);
      this.controls.target.lerpVectors(from.target, target, eased);
      this.camera.fov = from.fov + (fov - from.fov) * eased;
      this.camera.updateProjectionMatrix();
    };
    this.stopMoving();
    this.toFront = this.animate(moving ? TO_FRONT_SECONDS : 0, move);
  }

  /**
   * Call `move` with shares from 0 to 1 in the coming frames; with 1 at once where less motion is wanted.
   */
  animate(seconds: number, move: (share: number) => void): Movement | null {
    if (seconds === 0 || this.calm.matches) {
      move(1);
      this.invalidate();
      return null;
    }
    const movement = { seconds, move, began: null };
    this.movements.add(movement);
    this.invalidate();
    return movement;
  }

  light(light: Light): void {
    const { turned, colour, key, room } = MOODS[light];
    this.lightTurned = turned;
    this.scene.environmentIntensity = room;
    const [main] = this.lights.children as DirectionalLight[];
    main?.color.set(colour);
    if (main !== undefined) main.intensity = key;
    this.invalidate();
  }

  /** The middle of what is seen now: a data URL of a square of so many pixels. */
  picture(pixels: number): string {
    const { width, height } = this.canvas;
    const [square, small] = [Math.min(width, height) / CLOSE, document.createElement("canvas")];
    small.width = small.height = pixels;
    // What was drawn is gone once the browser has shown it.
    this.render();
    const from = [(width - square) / 2, (height - square) / 2, square, square] as const;
    small.getContext("2d")?.drawImage(this.canvas, ...from, 0, 0, pixels, pixels);
    return small.toDataURL("image/webp", 0.8);
  }

  /** Whether the head may be turned: not while the photo lies over it. */
  set turnable(may: boolean) {
    this.controls.enabled = may;
    this.canvas.classList.toggle("fixed", !may);
  }

  private fov(): number {
    const { clientWidth: width, clientHeight: height } = this.container;
    if (width === 0 || height === 0) return this.camera.fov;
    const square = photoSquare(width, height);
    return viewerFov(gameFov(this.game), this.comparing ? square : Math.min(width, height) / WIDER, height);
  }

  private setUpControls(): void {
    const { controls, canvas } = this;
    Object.assign(controls, {
      enablePan: false,
      enableDamping: !this.calm.matches,
      dampingFactor: 0.12,
      minDistance: NEAREST,
      maxDistance: FARTHEST,
      minPolarAngle: 0.2 * Math.PI,
      maxPolarAngle: 0.72 * Math.PI,
      rotateSpeed: 0.7,
    });
    controls.addEventListener("start", () => {
      this.stopTurning();
      this.stopMoving();
    });
    controls.addEventListener("change", () => this.invalidate());
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute(
      "aria-label",
      t("The head in 3D. Arrow keys turn it, plus and minus come nearer, Home looks from the front."),
    );
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("dblclick", () => this.front(this.comparing, true));
  }

  private key(event: KeyboardEvent): void {
    if (!this.controls.enabled || event.ctrlKey || event.metaKey || event.altKey) return;
    const turns: Record<string, [number, number, number]> = {
      ArrowLeft: [-TURNED_BY_KEY, 0, 1],
      ArrowRight: [TURNED_BY_KEY, 0, 1],
      ArrowUp: [0, -TURNED_BY_KEY, 1],
      ArrowDown: [0, TURNED_BY_KEY, 1],
      "+": [0, 0, 0.9],
      "=": [0, 0, 0.9],
      "-": [0, 0, 1 / 0.9],
    };
    const turn = turns[event.key];
    if (event.key === "Home") this.front(this.comparing, true);
    else if (turn !== undefined) this.orbit(...turn);
    else return;
    event.preventDefault();
  }

  private orbit(azimuth: number, polar: number, nearer: number): void {
    this.stopTurning();
    this.stopMoving();
    const { controls, camera } = this;
    const place = new Spherical().setFromVector3(camera.position.clone().sub(controls.target));
    place.theta += azimuth;
    place.phi = Math.min(Math.max(place.phi + polar, controls.minPolarAngle), controls.maxPolarAngle);
    place.radius = Math.min(Math.max(place.radius * nearer, NEAREST), FARTHEST);
    camera.position.setFromSpherical(place).add(controls.target);
    this.invalidate();
  }

  private fit(): void {
    const { clientWidth: width, clientHeight: height } = this.container;
    if (width === 0 || height === 0) return;
    this.draw(1);
    this.camera.aspect = width / height;
    this.camera.fov = this.fov();
    this.camera.updateProjectionMatrix();
    this.render();
  }

  /** With how many pixels: a share of what the screen has. */
  private draw(share: number): void {
    const { clientWidth: width, clientHeight: height } = this.container;
    this.ratio = share * Math.min(devicePixelRatio, MAX_PIXEL_RATIO);
    this.renderer.setPixelRatio(this.ratio);
    this.renderer.setSize(width, height, false);
  }

  private frame(now: number): void {
    this.drawn = false;
    this.move(now);
    this.controls.update();
    const ratio = this.resolution.share * Math.min(devicePixelRatio, MAX_PIXEL_RATIO);
    this.resolution.frame(now);
    if (this.ratio !== ratio) this.draw(this.resolution.share);
    this.render();
    this.sharpenSoon();
    if (this.turningSince !== null || this.movements.size > 0) this.invalidate();
  }

  private sharpenSoon(): void {
    clearTimeout(this.sharpening);
    if (this.resolution.share === 1) return;
    this.sharpening = setTimeout(() => {
      this.draw(1);
      this.render();
    }, SHARPENS_AFTER);
  }

  private stopMoving(): void {
    if (this.toFront !== null) this.movements.delete(this.toFront);
    this.toFront = null;
  }

  private move(now: number): void {
    for (const movement of this.movements) {
      movement.began ??= now;
      const share = Math.min(1, (now - movement.began) / 1000 / movement.seconds);
      movement.move(share);
      if (share === 1) this.movements.delete(movement);
    }
    if (this.turningSince !== null) {
      const seconds = Math.max(0, now - this.turningSince) / 1000;
      if (seconds > TURNS_FOR) this.stopTurning();
      this.turned(seconds);
      const distance = this.camera.position.distanceTo(this.controls.target);
      const place = new Spherical(distance, Math.PI / 2, sway(Math.min(seconds, TURNS_FOR)) / DEGREES);
      this.camera.position.setFromSpherical(place).add(this.controls.target);
    }
  }

  private render(): void {
    this.seen(this.camera.position);
    // The studio turns with the camera, so that the side that is seen is the side that is lit.
    const azimuth = Math.atan2(
      this.camera.position.x - this.controls.target.x,
      this.camera.position.z - this.controls.target.z,
    );
    this.lights.rotation.y = azimuth * 0.85 + this.lightTurned;
    this.scene.environmentRotation.y = azimuth * 0.85 + this.lightTurned;
    this.renderer.render(this.scene, this.camera);
  }
}
