-- eICU 2.0: its CSV files. A subject is a stay in hospital (patienthealthsystemstayid), as in eICU-MEDS: only within a stay is the order of events known.
-- Dates are made up: the stay's last day is 31 December of the year of discharge. Two stays of one person (uniquepid) are never in two splits.
-- needs: patient
-- Left out: vital signs, nurses' notes, care plans, free text.

CREATE TEMP TABLE stays AS
SELECT *, patienthealthsystemstayid AS subject,
    CAST(hospitaldischargeyear || '-12-31 ' || hospitaldischargetime24 AS TIMESTAMP) AS discharged,
    discharged - to_minutes(CAST(hospitaldischargeoffset AS BIGINT)) AS unit_admitted,
    CASE WHEN age = '> 89' THEN 90 ELSE TRY_CAST(age AS INTEGER) END AS years
FROM patient;
CREATE TEMP TABLE unit AS SELECT patientunitstayid, subject, unit_admitted FROM stays;
CREATE MACRO moment(admitted, minutes) AS admitted + to_minutes(CAST(minutes AS BIGINT));

INSERT INTO people SELECT DISTINCT subject, uniquepid FROM stays;
INSERT INTO events SELECT DISTINCT subject, NULL::TIMESTAMP, 'GENDER//' || gender, NULL::FLOAT FROM stays;
INSERT INTO events SELECT DISTINCT subject, NULL::TIMESTAMP, 'RACE//' || ethnicity, NULL::FLOAT FROM stays;
INSERT INTO events
SELECT subject, min(date_trunc('day', moment(unit_admitted, hospitaladmitoffset) - to_days(CAST(floor(years * 365.25 + 182.6) AS INTEGER)))), 'MEDS_BIRTH', NULL
FROM stays WHERE years IS NOT NULL GROUP BY subject;
INSERT INTO events
SELECT DISTINCT subject, moment(unit_admitted, hospitaladmitoffset), 'HOSPITAL_ADMISSION//' || coalesce(hospitaladmitsource, 'UNK'), NULL::FLOAT FROM stays;
INSERT INTO events SELECT subject, unit_admitted, concat_ws('//', 'ICU_ADMISSION', coalesce(unitadmitsource, 'UNK'), unittype), NULL FROM stays;

INSERT INTO events
SELECT subject, moment(unit_admitted, admitdxenteredoffset), 'ADMISSION_DIAGNOSIS//' || admitdxpath, NULL FROM admissiondx JOIN unit USING (patientunitstayid);
-- One row of diagnosis may have an ICD-9 and an ICD-10 code: '584.9, N17.9'. An ICD-10 code begins with a letter; of those of ICD-9 only E and V do.
INSERT INTO events
SELECT subject, moment(unit_admitted, diagnosisoffset),
    CASE WHEN icd IS NULL THEN 'DIAGNOSIS//' || diagnosisstring
        WHEN regexp_matches(icd, '^([0-9]{3}(\.[0-9]+)?|E[0-9]{3}(\.[0-9])?|V[0-9]{2}\.[0-9]+)$') THEN 'DIAGNOSIS//ICD//9//' || replace(icd, '.', '')
        ELSE 'DIAGNOSIS//ICD//10//' || replace(icd, '.', '') END, NULL
FROM (SELECT patientunitstayid, diagnosisoffset, diagnosisstring, unnest(coalesce(string_split(icd9code, ', '), [NULL])) AS icd FROM diagnosis)
JOIN unit USING (patientunitstayid);
INSERT INTO events
SELECT subject, moment(unit_admitted, labresultoffset), concat_ws('//', 'LAB', labname, labmeasurenamesystem), TRY_CAST(labresult AS FLOAT)
FROM lab JOIN unit USING (patientunitstayid);
INSERT INTO events
SELECT subject, moment(unit_admitted, drugstartoffset), 'MEDICATION//START//' || drugname, NULL
FROM medication JOIN unit USING (patientunitstayid) WHERE drugname IS NOT NULL AND drugordercancelled = 'No';
INSERT INTO events
SELECT subject, moment(unit_admitted, treatmentoffset), 'PROCEDURE//' || treatmentstring, NULL FROM treatment JOIN unit USING (patientunitstayid);
INSERT INTO events
SELECT subject, moment(unit_admitted, culturetakenoffset), concat_ws('//', 'MICROBIOLOGY', culturesite, organism), NULL
FROM microlab JOIN unit USING (patientunitstayid);

INSERT INTO events
SELECT subject, moment(unit_admitted, unitdischargeoffset), 'ICU_DISCHARGE//' || coalesce(unitdischargelocation, 'UNK'), NULL FROM stays;
INSERT INTO events
SELECT DISTINCT subject, discharged, 'HOSPITAL_DISCHARGE//' || coalesce(hospitaldischargelocation, 'UNK'), NULL::FLOAT FROM stays;
INSERT INTO events SELECT DISTINCT subject, discharged, 'MEDS_DEATH', NULL::FLOAT FROM stays WHERE hospitaldischargestatus = 'Expired';
